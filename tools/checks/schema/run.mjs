// npm run test:schema: schemathesis reads /openapi.json, and asks for everything that it describes. See the help.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { commandOf, parseWhole } from '../command.mjs';
import { startServer, stopServer } from '../server.mjs';

const { schemathesis, cases, seed, only } = commandOf(
  'test:schema',
  `Starts gradcam serve with two models, and has schemathesis try what its OpenAPI document describes: that what it allows is \
taken, what it does not is refused, answers are as described, and failures have our codes. schemathesis prints how each \
failure is repeated.`,
)
  .option('--schemathesis <program>', 'its program', process.env.GRADCAM_SCHEMATHESIS ?? 'schemathesis')
  .option('--cases <count>', "most cases for each route and phase; a night's run: 1000", parseWhole, 20)
  .option('--seed <number>', 'which sequence of cases', parseWhole, 1)
  .option('--only <pattern>', 'of the addresses, a regular expression')
  .addHelpText(
    'after',
    '\nThe variable GRADCAM_SCHEMATHESIS has the default of --schemathesis.\nExit code 0: document and server agree. 1: they do not. 2: wrong options.',
  )
  .parse()
  .opts();

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const fixture = (name) => fileURLToPath(new URL(`../../../test/fixtures/${name}`, import.meta.url));
const models = ['--model', `tiny=${fixture('scripted.pt')}`, '--model', `dense=${fixture('dict-output.pt')}`];

// A model that was unloaded answers nothing, so that is tried by itself.
const runs = [
  ['--exclude-path-regex', '/(un)?load$', ...(only ? ['--include-path-regex', only] : [])],
  ...(only ? [] : [['--include-path-regex', '/repository/|/models/[^/]+/ready$']]),
];

const folder = mkdtempSync(join(tmpdir(), 'gradcam-schema-'));
let failed = false;
try {
  for (const filter of runs) {
    const server = await startServer([...models, '--model-control']);
    try {
      const { status, error } = spawnSync(
        schemathesis,
        [
          ...['--config-file', here('schemathesis.toml'), 'run', `http://${server.http}/openapi.json`],
          ...['--max-examples', String(cases), '--seed', String(seed)],
          ...['--continue-on-failure', '--generation-database', 'none', ...filter],
        ],
        { cwd: folder, env: { ...process.env, SCHEMATHESIS_HOOKS: here('checks.py') }, stdio: 'inherit' },
      );
      if (error) console.error(`${schemathesis} cannot be started: ${error.message}`);
      failed ||= status !== 0;
    } finally {
      await stopServer(server);
    }
  }
} finally {
  rmSync(folder, { recursive: true });
}
process.exitCode = failed ? 1 : 0;
