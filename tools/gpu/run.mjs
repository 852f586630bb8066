// What tools/gpu/run.sh starts when there is a Node: finds LibTorch, provides the addon, runs the tests and the benchmark.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { parseWhole } from '../checks/command.mjs';
import { environmentFor, findLibTorch, provideAddon } from './addon.mjs';
import { manifestFile, root } from './folders.mjs';
import { describeMachine } from './machine.mjs';
import { Ended, interrupted, runProgram } from './program.mjs';
import { Report } from './report.mjs';
import { differences, hashOf, hashSources } from './sources.mjs';
import { TapReader } from './tap.mjs';
import { numericExceptions, numericTests, testFiles } from './tests.mjs';

// run.sh has the help.
const program = new Command('run.sh')
  .argument('<archive>')
  .option('--out <folder>', '', join(root, 'output', 'gpu'))
  .option('--python <python>', '', 'python3')
  .option('--cpu', '', false)
  .addOption(new Option('--only <part>').choices(['tests', 'numbers', 'bench']))
  .option('--concurrency <n>', '', parseWhole, 1)
  .option('--limit <seconds>', '', parseWhole, 530)
  .option('--tests <seconds>', '', parseWhole, 240)
  .option('--bench <seconds>', '', parseWhole, 200)
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : 2))
  .parse();
const options = program.opts();
const started = Date.now();
const device = options.cpu ? 'cpu' : 'cuda';
const out = resolve(options.out);
const report = new Report(out);
const earlier = report.earlier();
/** What a part may take: its own limit, and what is left for all. */
const limit = (seconds) => Math.max(1, Math.min(seconds, options.limit - (Date.now() - started) / 1000));

const manifest = JSON.parse(readFileSync(manifestFile, 'utf8'));
const sources = hashSources();
const changed = {
  native: differences(manifest.native, sources.native),
  typescript: differences(manifest.typescript, sources.typescript),
};
Object.assign(report.content, {
  device,
  machine: describeMachine(options.python),
  archive: { commit: manifest.commit, made: manifest.made, addons: manifest.addons },
  changed,
});

// What another archive, source, LibTorch or device would change. Results of an earlier run with the same are kept: all but
// the part that --only names, or, where a kill ended that run, those that had passed.
const { libtorch, problem } = lookForLibTorch();
const identity = hashOf(JSON.stringify([device, manifest.made, sources, libtorch, testFiles(device)]));
report.content.identity = identity;
const kept = earlier?.identity === identity ? Object.entries(earlier.parts).filter(isKept) : [];
Object.assign(report.content.parts, Object.fromEntries(kept));

await report.part('archive', () => {
  if (changed.typescript.length === 0) return;
  throw new Error(
    `dist/ in the archive is of other sources: ${changed.typescript.slice(0, 5).join(', ')} differ. Pack again.`,
  );
});
await report.part('libtorch', (record) => {
  if (problem) throw problem;
  Object.assign(record, libtorch);
});
const ready =
  libtorch !== undefined &&
  (await report.part('addon', async (record) => {
    const how = { native: sources.native, changed: changed.native, seconds: limit(150) };
    Object.assign(record, await provideAddon(libtorch, { ...how, log: (line) => report.log(line) }));
  }));

if (ready) {
  const env = {
    ...environmentFor(libtorch),
    PYTHON: options.python,
    GRADCAM_OFFLINE: '1',
    ...(options.cpu ? { GRADCAM_CUDA: '0', CUDA_VISIBLE_DEVICES: '' } : { GRADCAM_REQUIRE_CUDA: '1' }),
  };
  await unlessKept('tests', (record) => runTests(record, env, testFiles(device), options.tests));
  if (!options.cpu) await unlessKept('numbers', (record) => runNumericTests(record, env));
  if (existsSync(benchProgram())) await unlessKept('bench', (record) => runBench(record, env));
}
const passed = report.finish();
report.log(`${passed ? 'All parts passed' : 'NOT all parts passed'}: ${join(out, 'report.json')}`);
process.exit(passed ? 0 : 1);

function lookForLibTorch() {
  try {
    return { libtorch: findLibTorch(options.python) };
  } catch (problem) {
    return { problem };
  }
}

function isKept([name, { status }]) {
  if (!['tests', 'numbers', 'bench'].includes(name)) return false;
  return options.only ? options.only !== name : !earlier.finished && status === 'passed';
}

async function unlessKept(name, work) {
  if (report.content.parts[name])
    report.log(`--- ${name}: ${report.content.parts[name].status}, of the run before`);
  else if ((options.only ?? name) === name) await report.part(name, work);
}

/** cuDNN may take tensor cores for some small convolutions of float32, which the variable forbids: docs/cuda.md. */
async function runNumericTests(record, env) {
  const numericEnv = { ...env, GRADCAM_TEST_DEVICE: 'cuda', NVIDIA_TF32_OVERRIDE: '0' };
  record.leftOut = numericExceptions(libtorch);
  const patterns = Object.keys(record.leftOut).flatMap((pattern) => ['--match', `!${pattern}`]);
  await runTests(record, numericEnv, [...patterns, ...numericTests], 90);
}

async function runTests(record, env, files, seconds) {
  const tap = new TapReader();
  const ava = [join(root, 'node_modules', 'ava', 'entrypoints', 'cli.mjs'), '--tap'];
  const how = ['--concurrency', String(options.concurrency), '--timeout', '2m'];
  const take = () => {
    const { passed, failed, skipped, failures, skippedTitles } = tap;
    Object.assign(record, { passed, failed, skipped, failures, skippedTitles });
  };
  take();
  const threads = String(Math.max(1, Math.floor(availableParallelism() / options.concurrency)));
  const code = await runProgram([process.execPath, ...ava, ...how, ...files], {
    cwd: root,
    env: { OMP_NUM_THREADS: threads, ...env },
    seconds: limit(seconds),
    logFile: report.logFile,
    onOutput: (text) => {
      tap.read(text);
      take();
      report.saveSoon();
    },
  });
  report.log(`${tap.passed} passed, ${tap.failed} failed, ${tap.skipped} skipped`);
  for (const { title } of tap.failures) report.log(`  failed: ${title}`);
  if (code !== 0 || tap.failed > 0)
    throw new Ended('failed', `${tap.failed} tests failed (exit code ${code})`);
  if (tap.passed === 0) throw new Ended('failed', 'no test ran');
  if (device === 'cuda' && tap.skipped > 0)
    throw new Ended('failed', `${tap.skipped} tests were skipped, and none may be`);
}

function benchProgram() {
  return join(root, 'bench', 'cuda', 'run.mjs');
}

/** Its results are files: those of a benchmark that was ended are taken too. */
async function runBench(record, env) {
  const folder = join(out, 'bench');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const command = [process.execPath, benchProgram(), '--python', options.python, '--out', folder];
  if (options.cpu) {
    const help = execFileSync(process.execPath, [benchProgram(), '--help'], { encoding: 'utf8', env });
    if (!help.includes('--device')) {
      record.note = 'not run: it has no --device';
      return;
    }
    command.push('--device', 'cpu');
  }
  try {
    const code = await runProgram(command, {
      cwd: root,
      env,
      seconds: limit(options.bench),
      logFile: report.logFile,
    });
    if (code !== 0) throw new Ended('failed', `exit code ${code}`);
  } finally {
    record.results = {};
    for (const name of readdirSync(folder).filter((file) => file.endsWith('.json'))) {
      try {
        record.results[name] = JSON.parse(readFileSync(join(folder, name), 'utf8'));
      } catch {
        record.results[name] = 'not complete';
      }
    }
    if (interrupted()) record.note = 'interrupted: the results are those until then';
  }
}
