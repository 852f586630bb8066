// npm run test:sanitizers: see the help.
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { avaProgram, makeVariant, root } from '../variants/variant.mjs';
import { judgeReports } from './reports.mjs';

const help = `Usage: npm run test:sanitizers -- [parts] [options]

Compiles our C++ with sanitizers and runs it. LibTorch and Node stay as they are: what is
wrong inside them is not seen. Needs GCC or Clang with their sanitizers, on Linux.

Parts (default: all)
  pools     the executors, cancelling and the cache of memory blocks, with many threads,
            without LibTorch: ThreadSanitizer, then AddressSanitizer. Seconds.
  address   the addon with AddressSanitizer, UndefinedBehaviorSanitizer and
            LeakSanitizer, built in build-variants/address, and tests in it. Minutes,
            the first time about ten.

Options
  --tests FILES   test files for address, separated by commas (default: those that reach
                  most of the native code)
  --size N        how long pools runs (default 1; a night's run: 20)
  --plant WHAT    put a fault into pools, to see that it is found: race, overflow, leak
  --help          this text

Exit code 0: no report. Exit code 1: a sanitizer reported something, or a test failed.`;

const parts = ['pools', 'address'];
const tests = [
  'attribution',
  'clip',
  'engine',
  'errors',
  'explainer',
  'family-properties',
  'function-targets',
  'golden',
  'lifecycle',
  'misuse',
  'model',
  'observability',
  'segmentation',
  'tensor-operations',
  'threads',
  'transformers',
];

function readCommandLine() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        tests: { type: 'string', default: tests.join(',') },
        size: { type: 'string', default: '1' },
        plant: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    });
    const unknown = positionals.find((part) => !parts.includes(part));
    if (unknown) throw new Error(`There is no part '${unknown}'.`);
    return { ...values, parts: positionals.length > 0 ? positionals : parts };
  } catch (error) {
    console.error(`${error.message}\n\n${help}`);
    return process.exit(2);
  }
}

const options = readCommandLine();
if (options.help) {
  console.log(help);
  process.exit(0);
}

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const compiler = process.env.CXX ?? 'c++';

function run(program, args, settings = {}) {
  const { status, signal, error } = spawnSync(program, args, { stdio: 'inherit', ...settings });
  if (error) throw new Error(`${program} could not be started: ${error.message}`);
  if (status !== 0) throw new Error(`${program} ended with ${signal ?? `exit code ${status}`}.`);
}

function timed(name, work) {
  const started = Date.now();
  work();
  console.log(`${name}: no report, ${((Date.now() - started) / 1000).toFixed(0)} s`);
}

function runPools() {
  const folder = join(root, 'build-variants');
  mkdirSync(folder, { recursive: true });
  const sources = ['executors', 'block_cache'].map((name) => join(root, 'native', 'core', `${name}.cc`));
  for (const sanitizer of ['thread', 'address,undefined']) {
    const program = join(folder, `pools-${sanitizer.split(',')[0]}`);
    const flags = [`-fsanitize=${sanitizer}`, '-fno-sanitize-recover=all', '-fno-omit-frame-pointer'];
    if (options.plant) flags.push(`-DGRADCAM_PLANT_${options.plant.toUpperCase()}`);
    const include = ['-I', join(root, 'native')];
    timed(`pools with -fsanitize=${sanitizer}`, () => {
      run(compiler, [
        '-std=c++20',
        '-O1',
        '-g',
        ...flags,
        ...include,
        here('pools.cc'),
        ...sources,
        '-pthread',
        '-o',
        program,
      ]);
      run(program, [options.size]);
    });
  }
}

/** The sanitizers' libraries must be in the process before the addon is. */
function sanitizedEnvironment(reports) {
  const library = (name) =>
    spawnSync(compiler, [`-print-file-name=${name}`], { encoding: 'utf8' }).stdout.trim();
  return {
    ...process.env,
    LD_PRELOAD: `${library('libasan.so')} ${library('libubsan.so')}`,
    // detect_odr_violation: LibTorch defines some variables in two libraries. detect_container_overflow: a vector that
    // LibTorch's code, which is not instrumented, has grown looks overrun to ours. exitcode: no exit code of a test's.
    ASAN_OPTIONS: `detect_odr_violation=0:detect_container_overflow=0:exitcode=99:log_path=${join(reports, 'report')}`,
    LSAN_OPTIONS: 'exitcode=0', // which leaks are ours is judged afterwards
    UBSAN_OPTIONS: `print_stacktrace=1:halt_on_error=1:exitcode=99:log_path=${join(reports, 'report')}`,
    OMP_NUM_THREADS: '1',
    GRADCAM_WORKERS: process.env.GRADCAM_WORKERS ?? '20',
  };
}

async function runAddress() {
  const folder = await makeVariant('address', { sanitize: 'address' });
  const reports = join(folder, 'build', 'reports');
  rmSync(reports, { recursive: true, force: true });
  mkdirSync(reports);
  const files = options.tests.split(',').map((name) => `test/${name}.test.ts`);
  timed('address', () => {
    const { status } = spawnSync(process.execPath, [avaProgram, '--timeout=10m', ...files], {
      cwd: folder,
      env: sanitizedEnvironment(reports),
      stdio: 'inherit',
    });
    const judged = judgeReports(reports);
    for (const report of judged.reports.slice(0, 20)) console.log(report);
    console.log(`${judged.ignored} allocations of Node and LibTorch were still there at exit`);
    if (judged.reports.length > 0)
      throw new Error(`${judged.reports.length} reports, ${judged.leaks} leaks.`);
    if (status !== 0) throw new Error('A test failed under the sanitizers.');
  });
}

try {
  if (options.parts.includes('pools')) runPools();
  if (options.parts.includes('address')) await runAddress();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
