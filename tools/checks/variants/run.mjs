// npm run test:libtorch -- FOLDER [ava's arguments]: the tests against another LibTorch than that of build/.
import { spawnSync } from 'node:child_process';
import { basename, resolve } from 'node:path';
import { checkLibTorch } from '../../../scripts/libtorch/check.mjs';
import { avaProgram, makeVariant } from './variant.mjs';

const help = `Usage: npm run test:libtorch -- FOLDER [ava's arguments]

Builds the addon against the LibTorch in FOLDER (LibTorch's root, or a Python torch
package), in build-variants/, and runs the tests with it. build/ stays as it is.

  python3 -m pip install --no-deps --target /tmp/torch torch==2.12.1
  npm run test:libtorch -- /tmp/torch`;

const [folder, ...avaArguments] = process.argv.slice(2);
if (!folder || folder === '--help') {
  console.log(help);
  process.exit(folder ? 0 : 2);
}
try {
  const found = checkLibTorch(folder);
  if (found.problem) throw new Error(`${folder}: ${found.problem}`);
  const env = { ...process.env, LIBTORCH: resolve(folder) };
  const variant = await makeVariant(`libtorch-${found.version}`, { env });
  console.error(`testing in ${basename(variant)}`);
  const { status } = spawnSync(process.execPath, [avaProgram, ...avaArguments], {
    cwd: variant,
    env,
    stdio: 'inherit',
  });
  process.exitCode = status ?? 1;
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
