// npm run fuzz -- --cases 5000 --seed 1: damaged model files against loadModel() and explain(), in processes that may
// crash. Ends with a table; the exit code is 1 where something happened that must not.
import { execFile, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { mutate, randomNumbers } from './mutate.mjs';

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '300' },
    seed: { type: 'string', default: '1' },
    first: { type: 'string', default: '0' },
    keep: { type: 'string' },
    verbose: { type: 'boolean', default: false },
  },
});
const [cases, seed, first] = [Number(values.cases), Number(values.seed), Number(values.first)];
const root = fileURLToPath(new URL('../..', import.meta.url));
const subjects = [
  'scripted',
  'traced',
  'called-twice',
  'control_flow',
  'functional-relu',
  'tuple-output',
  'frozen',
].map((name) => readFileSync(join(root, 'test', 'fixtures', `${name}.pt`)));
const longest = 20_000; // milliseconds a case may take
const virtualMemory = 12_000_000; // KiB, so that a size made up by the fuzzer takes no machine down

const folder = mkdtempSync(join(tmpdir(), 'gradcam-fuzz-'));
const path = join(folder, 'case.pt');
const counts = new Map();
const faults = [];
let child;
let stage = 'start';

function limited(script, args, options) {
  const command = `ulimit -c 0 -v ${virtualMemory}; exec "$0" "$@"`;
  return ['/bin/sh', ['-c', command, process.execPath, script, ...args], options];
}

async function startChild() {
  const [program, args] = limited(fileURLToPath(new URL('child.mjs', import.meta.url)), [], {});
  child = fork(args.at(-1), [], {
    execPath: program,
    execArgv: args.slice(0, -1),
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
  child.on('message', (message) => {
    if (message.stage) stage = message.stage;
  });
  const [message] = await once(child, 'message');
  if (message.outcome !== 'ready') throw new Error('the child did not start');
}

/** What became of one file: an error's code, 'fine', 'crash in load', 'hang in run', ... */
function outcomeOf() {
  return new Promise((resolve) => {
    const timer = setTimeout(() => finish({ outcome: `hang in ${stage}` }, true), longest);
    const onMessage = (message) => message.outcome && finish(message);
    const onExit = (code, signal) =>
      finish({ outcome: `crash in ${stage}`, message: signal ?? `exit code ${code}` }, true);
    const finish = (result, ended = false) => {
      clearTimeout(timer);
      child.off('message', onMessage);
      child.off('exit', onExit);
      if (ended) {
        child.kill('SIGKILL');
        child = undefined;
      }
      resolve(result);
    };
    child.on('message', onMessage);
    child.once('exit', onExit);
    child.send({ path });
  });
}

/** What loadModel(path, { preflight: true }) makes of a file that crashes the loader. */
function withPreflight() {
  const script = `
    import { loadModel } from 'node-gradcam';
    const error = await loadModel(process.argv[1], { preflight: true }).catch((error) => error);
    process.stdout.write(String(error.code));`;
  return new Promise((resolve) => {
    const args = ['--input-type=module', '--eval', script, path];
    execFile(process.execPath, args, { cwd: root, timeout: 60_000 }, (error, stdout) => {
      resolve(error ? `the process failed: ${error.signal ?? error.code}` : stdout);
    });
  });
}

const mustNot = (outcome) => /^(no code|ERR_INTERNAL|hang in load|crash in start)/.test(outcome);
const started = Date.now();
for (let number = first; number < first + cases; number++) {
  const random = randomNumbers(seed * 1_000_003 + number);
  const { kind, data } = mutate(subjects[random(subjects.length)], subjects[random(subjects.length)], random);
  writeFileSync(path, data);
  if (!child) await startChild();
  const { outcome, message = '' } = await outcomeOf();
  counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
  let fault = mustNot(outcome) ? `${outcome}: ${message}` : null;
  if (outcome === 'crash in load') {
    const caught = await withPreflight();
    counts.set(
      `... of which preflight made ${caught}`,
      (counts.get(`... of which preflight made ${caught}`) ?? 0) + 1,
    );
    if (caught !== 'ERR_MODEL_LOAD') fault = `preflight: ${caught}`;
  }
  if (values.verbose || fault || /^(crash|hang)/.test(outcome))
    console.log(
      `case ${number} (${kind}): ${outcome} ${message.split('\n')[0]}${fault ? '  <-- must not happen' : ''}`,
    );
  if (fault) faults.push(number);
  if (values.keep && (fault || outcome.startsWith('crash'))) {
    mkdirSync(values.keep, { recursive: true });
    writeFileSync(join(values.keep, `${seed}-${number}-${kind}.pt`), data);
  }
}
child?.kill();
rmSync(folder, { recursive: true });

console.log(`\n${cases} cases, seed ${seed}, ${((Date.now() - started) / 1000).toFixed(0)} s`);
for (const [outcome, count] of [...counts].sort((a, b) => b[1] - a[1]))
  console.log(`${String(count).padStart(7)}  ${outcome}`);
if (faults.length > 0) {
  console.log(
    `\nMust not happen: ${faults.length}. Again with: npm run fuzz -- --seed ${seed} --first ${faults[0]} --cases 1`,
  );
  process.exitCode = 1;
}
