// npm test: runs AVA with the arguments given, then lists what was skipped, and the command that enables each.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { avaProgram, root } from './variants/variant.mjs';

const help = `Usage: npm test -- [--require-all] [ava's arguments]

Builds what is stale and runs the tests, several files at once. At the end it lists
the tests that were skipped, what they lack, and the command that brings it.

  --require-all   fail, before any test runs, where something else than a CUDA device
                  is missing

  npm test -- test/cam/golden.test.ts --match='*call-0*'`;

const given = process.argv.slice(2);
if (given.includes('--help')) {
  console.log(help);
  process.exit(0);
}
const requireAll = given.includes('--require-all');
const avaArguments = given.filter((argument) => argument !== '--require-all');

const { requirements } = await import('../../dist/test/helpers/requirements.js');

if (requireAll) {
  const lacking = Object.entries(requirements).flatMap(([name, { missing, enabledBy }]) => {
    const reason = name === 'CUDA' ? null : missing();
    return reason === null ? [] : [`${name} is missing: ${reason}. It is brought by: ${enabledBy}`];
  });
  for (const line of lacking) console.error(line);
  if (lacking.length > 0) process.exit(1);
}

const folder = mkdtempSync(join(tmpdir(), 'gradcam-tests-'));
const list = join(folder, 'skipped');
const { status } = spawnSync(process.execPath, [avaProgram, ...avaArguments], {
  cwd: root,
  env: { ...process.env, GRADCAM_SKIPPED_TESTS: list },
  stdio: 'inherit',
});
const skipped = existsSync(list)
  ? readFileSync(list, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
  : [];
rmSync(folder, { recursive: true });

if (skipped.length > 0) console.error('\nSkipped:');
for (const [name, { missing, enabledBy }] of Object.entries(requirements)) {
  const count = skipped.filter((each) => each.name === name).length;
  if (count > 0) console.error(`  ${count} for want of ${name} (${missing()})\n      ${enabledBy}`);
}
process.exitCode = status ?? 1;
