// npm run test:nightly: what takes too long for every change. Each part prints its own report; the last lines sum up.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { commandOf } from './command.mjs';

const parts = [
  { name: 'build', command: ['npm', 'run', '--silent', 'build'] },
  {
    name: 'fuzz, 5000 files',
    command: ['npm', 'run', '--silent', 'fuzz', '--', '--cases', '5000', '--seed', 'N'],
  },
  {
    name: 'fuzz, 5000 exported programs',
    command: [
      'npm',
      'run',
      '--silent',
      'fuzz',
      '--',
      '--format',
      'exported',
      '--cases',
      '5000',
      '--seed',
      'N',
    ],
  },
  {
    name: 'fuzz:models, 3000 networks',
    command: ['npm', 'run', '--silent', 'fuzz:models', '--', '--cases', '3000', '--seed', 'N'],
  },
  {
    name: 'fuzz:models, 1000 exported networks',
    command: ['npm', 'run', '--silent', 'fuzz:models', '--', '--exported', '--cases', '1000', '--seed', 'N'],
  },
  { name: 'compare:models, architectures by name', command: ['npm', 'run', '--silent', 'compare:models'] },
  {
    name: 'exported programs of full-size models',
    command: [process.env.GRADCAM_PYTHON ?? 'python3', '-m', 'tools.compare.exported'],
  },
  {
    name: '200 workers',
    command: ['npx', 'ava', 'test/engine/threads.test.ts'],
    env: { GRADCAM_WORKERS: '200' },
  },
  {
    name: 'memory over 5000 explains on every path, and 200 workers',
    command: ['npx', 'ava', '--config', 'test/nightly/ava.config.mjs'],
  },
  {
    name: '40000 calls of native functions',
    command: ['npx', 'ava', '--timeout=30m', 'test/engine/binding-fuzz.test.ts'],
    env: { GRADCAM_BINDING_CALLS: '20000' },
  },
  {
    name: '20000 sidecars',
    command: ['npx', 'ava', '--timeout=30m', 'test/sidecar/fuzz.test.ts'],
    env: { GRADCAM_SIDECARS: '20000' },
  },
  {
    name: "the protocols' own clients (GRADCAM_CLIENTS_PYTHON)",
    command: ['npm', 'run', '--silent', 'test:clients'],
  },
  {
    name: 'the OpenAPI document, 1000 cases for each route (GRADCAM_SCHEMATHESIS)',
    command: ['npm', 'run', '--silent', 'test:schema', '--', '--cases', '1000', '--seed', 'N'],
  },
  { name: 'CUDA build of LibTorch', command: ['npm', 'run', '--silent', 'test:cuda-library'] },
  { name: 'sanitizers', command: ['npm', 'run', '--silent', 'test:sanitizers', '--', '--size', '20'] },
  {
    name: 'package, compiled where it is installed',
    command: ['npm', 'run', '--silent', 'check:package', '--', '--from-source'],
  },
];

const program = commandOf(
  'test:nightly',
  'Runs what takes too long for every change. Each part prints its own report; the last lines sum up.',
)
  .argument('[names...]', "of parts, a name's beginning is enough; default: all")
  .addHelpText(
    'after',
    `\nParts:\n${parts.map(({ name, command }) => `  ${name}\n      ${command.join(' ')}`).join('\n')}`,
  )
  .parse();
const chosen = program.args;

// Another seed each day; the fuzzer prints the command that repeats a case.
const seed = String(Math.floor(Date.now() / 86_400_000));
const cwd = fileURLToPath(new URL('../..', import.meta.url));
const results = [];
for (const { name, command, env = {} } of parts) {
  if (chosen.length > 0 && !chosen.some((beginning) => name.startsWith(beginning))) continue;
  console.log(`\n--- ${name}`);
  const started = Date.now();
  const [file, ...args] = command.map((word) => (word === 'N' ? seed : word));
  const { status } = spawnSync(file, args, { cwd, env: { ...process.env, ...env }, stdio: 'inherit' });
  results.push({ name, passed: status === 0, seconds: (Date.now() - started) / 1000 });
}

console.log('');
for (const { name, passed, seconds } of results)
  console.log(`${passed ? 'ok    ' : 'not ok'}  ${name} (${seconds.toFixed(0)} s)`);
process.exitCode = results.length > 0 && results.every(({ passed }) => passed) ? 0 : 1;
