// npm run test:clients: the official clients of the protocols against our server. See the help.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { commandOf } from '../command.mjs';
import { startServer, stopServer } from '../server.mjs';

/** Each is a program of its own beside this one. */
const suites = [
  { name: 'http', file: 'http_client.py' },
  { name: 'grpc', file: 'grpc_client.py' },
  { name: 'kserve', file: 'kserve_client.py' },
];

const program = commandOf(
  'test:clients',
  `Starts gradcam serve, and runs the official clients of Triton and KServe against it: each call in a row of a table. \
The Python needs tritonclient[all], kserve and numpy.`,
)
  .argument('[names...]', `of suites: ${suites.map(({ name }) => name).join(', ')}; default: all`)
  .option('--python <program>', 'a Python with the clients', process.env.GRADCAM_CLIENTS_PYTHON ?? 'python3')
  .addHelpText(
    'after',
    '\nThe variable GRADCAM_CLIENTS_PYTHON has the default of --python.\nExit code 0: all calls did what they should. 1: one did not. 2: wrong options.',
  )
  .parse();
const { python } = program.opts();
const chosen = suites.filter(
  ({ name, file }) =>
    existsSync(new URL(file, import.meta.url)) && (program.args.length === 0 || program.args.includes(name)),
);
if (chosen.length === 0 || program.args.some((each) => !suites.some(({ name }) => name === each)))
  program.error(`There is: ${suites.map(({ name }) => name).join(', ')}.`, { exitCode: 2 });

const root = fileURLToPath(new URL('../../..', import.meta.url));
const lite = join(root, 'examples', 'models', 'efficientnet_lite0.pt');
const repository = mkdtempSync(join(tmpdir(), 'gradcam clients-'));
for (const name of ['small', 'half'])
  copyFileSync(join(root, 'test', 'fixtures', 'scripted.pt'), join(repository, `${name}.pt`));
writeFileSync(
  join(repository, 'half.json'),
  JSON.stringify({ input: { width: 16, height: 16 }, dtype: 'bfloat16' }),
);

const servers = [];
let failed = false;
try {
  const model = ['--model', `lite=${lite}`];
  servers.push(await startServer([...model, '--model-repository', repository, '--model-control']));
  servers.push(await startServer(model));
  const [{ http, grpc }, uncontrolled] = servers;
  const more = ['--loadable', 'small', '--half', 'half', '--uncontrolled', uncontrolled.http];
  for (const { name, file } of chosen) {
    console.log(`\n--- ${name}`);
    const addresses = ['--http', http, ...(grpc ? ['--grpc', grpc] : []), '--model', 'lite'];
    const args = [
      fileURLToPath(new URL(file, import.meta.url)),
      ...addresses,
      ...(name === 'http' ? more : []),
    ];
    const { status, error } = spawnSync(python, args, { stdio: 'inherit' });
    if (error) console.error(`${python} cannot be started: ${error.message}`);
    failed ||= status !== 0;
  }
} finally {
  await Promise.all(servers.map(stopServer));
  rmSync(repository, { recursive: true });
}
process.exitCode = failed ? 1 : 0;
