// npm run fuzz: damaged model files against loadModel() and explain(), in processes that may crash.
import { execFile, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Option } from 'commander';
import { commandOf, parseWhole } from '../command.mjs';
import { mutate, randomNumbers } from './mutate.mjs';

const { cases, seed, first, format, keep, verbose } = commandOf(
  'fuzz',
  `Damages the model files of test/fixtures (flipped bits, cuts, changed entries of the archive, changed pickles, code and programs), \
and gives each to loadModel(), inspect() and explain() in a child process. Each must be refused with a code of \
docs/errors.md, or work. Ends with a table of what happened.`,
)
  .option('--cases <count>', "how many files; a night's run: 5000", parseWhole, 300)
  .option('--seed <number>', 'which sequence of damages; the same seed, the same files', parseWhole, 1)
  .option('--first <number>', 'start at this case of the sequence', parseWhole, 0)
  .addOption(
    new Option('--format <name>', 'which model files')
      .choices(['torchscript', 'exported'])
      .default('torchscript'),
  )
  .option('--keep <folder>', 'keep the files that crash or fail in this folder')
  .option('--verbose', 'a line for every case')
  .addHelpText(
    'after',
    `
Exit code 0: nothing happened that must not. A crash of LibTorch's own loader is
let pass where loadModel(path, { preflight: true }) makes ERR_MODEL_LOAD of it.
Exit code 1: a process crashed otherwise or hung in a load, or an error had no
code; the command that repeats the case is printed. Exit code 2: wrong options.`,
  )
  .parse()
  .opts();
const again = (number) => `npm run fuzz -- --format ${format} --seed ${seed} --first ${number} --cases 1`;
const root = fileURLToPath(new URL('../../..', import.meta.url));
const fixtures = {
  torchscript: [
    'scripted.pt',
    'traced.pt',
    'called-twice.pt',
    'control_flow.pt',
    'functional-relu.pt',
    'tuple-output.pt',
    'frozen.pt',
  ],
  exported: [
    'exported/dynamic-size.pt2',
    'exported/vit.pt2',
    'exported/conditional.pt2',
    'exported/no-grad-inside.pt2',
    'exported/overlapping-views.pt2',
    'exported/computed-sizes.pt2',
    'exported/gives-nested.pt2',
    'exported/takes-parts.pt2',
    'exported/called-three-times.pt2',
  ],
};
const subjects = fixtures[format].map((name) => readFileSync(join(root, 'test', 'fixtures', name)));
const longest = 20_000; // milliseconds a case may take
const mostMemory = 10; // times a file's length
const virtualMemory = 12_000_000; // KiB, so that a size made up by the fuzzer takes no machine down

const folder = mkdtempSync(join(tmpdir(), 'gradcam-fuzz-'));
const path = join(folder, 'case.pt');
const counts = new Map();
const faults = [];
let child;
let stage = 'start';

async function startChild() {
  child = fork(fileURLToPath(new URL('child.mjs', import.meta.url)), [], {
    execPath: '/bin/sh',
    execArgv: ['-c', `ulimit -c 0; ulimit -v ${virtualMemory}; exec "$0" "$@"`, process.execPath],
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
  child.on('message', (message) => {
    if (message.stage) stage = message.stage;
  });
  const exited = once(child, 'exit').then(() => null);
  const ready = await Promise.race([once(child, 'message'), exited]);
  if (!ready) throw new Error('The child did not start. Is everything built? npm run build');
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

const mustNot = (outcome) => /^(no code|ERR_INTERNAL|hang in load|crash in (start|run))/.test(outcome);
const started = Date.now();
for (let number = first; number < first + cases; number++) {
  const random = randomNumbers(seed * 1_000_003 + number);
  const { kind, data } = mutate(
    format,
    subjects[random(subjects.length)],
    subjects[random(subjects.length)],
    random,
  );
  writeFileSync(path, data);
  if (!child) await startChild();
  const { outcome, message = '', grown = 0 } = await outcomeOf();
  counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
  let fault = mustNot(outcome) ? `${outcome}: ${message}` : null;
  // What is refused must not have taken much more memory than it is long; what a process takes anyway is less than this.
  if (data.length > 2 ** 20 && grown > mostMemory * data.length)
    fault = `memory: ${grown} bytes of ${data.length}`;
  if (outcome === 'crash in load') {
    const caught = await withPreflight();
    counts.set(
      `... of which preflight made ${caught}`,
      (counts.get(`... of which preflight made ${caught}`) ?? 0) + 1,
    );
    if (caught !== 'ERR_MODEL_LOAD') fault = `preflight: ${caught}`;
  }
  if (verbose || fault || /^(crash|hang)/.test(outcome)) {
    console.log(`case ${number} (${kind}): ${outcome} ${message.split('\n')[0]}`);
    if (fault) console.log(`  must not happen: ${fault}`);
    if (fault || outcome.startsWith('crash')) console.log(`  again with: ${again(number)}`);
  }
  if (fault) faults.push(number);
  if (keep && (fault || outcome.startsWith('crash'))) {
    mkdirSync(keep, { recursive: true });
    writeFileSync(join(keep, `${seed}-${number}-${kind}.pt`), data);
  }
}
child?.kill();
rmSync(folder, { recursive: true });

console.log(`\n${cases} cases, seed ${seed}, ${((Date.now() - started) / 1000).toFixed(0)} s`);
for (const [outcome, count] of [...counts].sort((a, b) => b[1] - a[1]))
  console.log(`${String(count).padStart(7)}  ${outcome}`);
if (faults.length > 0) {
  console.log(`\n${faults.length} of the cases did what must not happen. Again with:`);
  for (const number of faults) console.log(`  ${again(number)}`);
  process.exitCode = 1;
}
