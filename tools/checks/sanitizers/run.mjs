// npm run test:sanitizers: see the help.
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Argument, Option } from 'commander';
import { commandOf, parseWhole } from '../command.mjs';
import { avaProgram, makeVariant, root } from '../variants/variant.mjs';
import { judgeReports } from './reports.mjs';

const parts = ['pools', 'address', 'thread'];
const addressTests = [
  'cam/attribution',
  'engine/binding-fuzz',
  'clip/clip',
  'engine/engine',
  'errors/errors',
  'explainer/explainer',
  'cam/family-properties',
  'cam/function-targets',
  'cam/golden',
  'engine/lifecycle',
  'engine/memory',
  'engine/misuse',
  'engine/wrong-arguments',
  'model/model',
  'engine/observability',
  'dense/segmentation',
  'tensor/operations',
  'engine/threads',
  'cam/transformers',
];

const threadTests = [
  'engine/determinism',
  'explainer/explainer',
  'engine/observability',
  'engine/responsiveness',
  'engine/threads',
];

const program = commandOf(
  'test:sanitizers',
  `Compiles our C++ with sanitizers and runs it. LibTorch and Node stay as they are: what is wrong inside them is not seen. \
Needs GCC or Clang with their sanitizers, on Linux.`,
)
  .addArgument(new Argument('[parts...]', 'which of it').choices(parts).default(parts))
  .option(
    '--tests <names>',
    'test files for address or thread, such as cam/golden, separated by commas; default: those that reach most of the native code, or have many threads',
  )
  .option('--size <count>', "how long pools runs; a night's run: 20", parseWhole, 1)
  .addOption(
    new Option('--plant <fault>', 'put a fault into pools, to see that it is found').choices([
      'race',
      'overflow',
      'leak',
    ]),
  )
  .addHelpText(
    'after',
    `
Parts:
  pools    the executors, cancelling and the cache of memory blocks, with many
           threads, without LibTorch: ThreadSanitizer, then AddressSanitizer.
           Seconds.
  address  the addon with AddressSanitizer, UndefinedBehaviorSanitizer and
           LeakSanitizer, built in build-variants/address, and tests in it.
           Minutes, the first time about ten.
  thread   the same with ThreadSanitizer, and tests with many threads.

Exit code 0: no report. Exit code 1: a sanitizer reported something, or a test
failed.`,
  )
  .parse();
const options = program.opts();
const [chosen] = program.processedArgs;

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
  const sources = ['executors', 'block_cache'].map((name) =>
    join(root, 'native', 'core', 'process', `${name}.cc`),
  );
  for (const sanitizer of ['thread', 'address,undefined']) {
    const pools = join(folder, `pools-${sanitizer.split(',')[0]}`);
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
        pools,
      ]);
      run(pools, [String(options.size)]);
    });
  }
}

/** The sanitizers' libraries must be in the process before the addon is; their reports go to files. */
function sanitizedEnvironment(sanitizer, reports) {
  const library = (name) =>
    spawnSync(compiler, [`-print-file-name=lib${name}.so`], { encoding: 'utf8' }).stdout.trim();
  const path = `log_path=${join(reports, 'report')}`;
  const common = {
    ...process.env,
    OMP_NUM_THREADS: '1',
  };
  // exitcode=0: what is ours is judged afterwards. 99: no exit code of a test's.
  if (sanitizer === 'thread')
    return {
      ...common,
      LD_PRELOAD: library('tsan'),
      TSAN_OPTIONS: `exitcode=0:report_signal_unsafe=0:${path}`,
    };
  return {
    ...common,
    LD_PRELOAD: `${library('asan')} ${library('ubsan')}`,
    // detect_odr_violation: LibTorch defines some variables in two libraries. detect_container_overflow: a vector that
    // LibTorch's code, which is not instrumented, has grown looks overrun to ours.
    ASAN_OPTIONS: `detect_odr_violation=0:detect_container_overflow=0:exitcode=99:${path}`,
    LSAN_OPTIONS: 'exitcode=0',
    UBSAN_OPTIONS: `print_stacktrace=1:halt_on_error=1:exitcode=99:${path}`,
  };
}

async function runAddon(sanitizer, tests) {
  const folder = await makeVariant(sanitizer, { sanitize: sanitizer });
  const reports = join(folder, 'build', 'reports');
  rmSync(reports, { recursive: true, force: true });
  mkdirSync(reports);
  const files = (options.tests?.split(',') ?? tests).map((name) => `test/${name}.test.ts`);
  timed(sanitizer, () => {
    const { status } = spawnSync(process.execPath, [avaProgram, '--timeout=10m', ...files], {
      cwd: folder,
      env: sanitizedEnvironment(sanitizer, reports),
      stdio: 'inherit',
    });
    const judged = judgeReports(reports);
    for (const report of judged.reports.slice(0, 20)) console.log(report);
    console.log(`${judged.ignored} leaks and races are of Node's or LibTorch's code alone`);
    if (judged.unknown > 0) {
      console.log(
        `in ${judged.unknown} of the processes LeakSanitizer itself failed: their leaks are not known`,
      );
      if (judged.unknown > 5) throw new Error('These are too many.');
    }
    if (judged.reports.length > 0)
      throw new Error(`${judged.reports.length} reports, ${judged.leaks} of them leaks.`);
    if (status !== 0) throw new Error('A test failed under the sanitizers.');
  });
}

try {
  if (chosen.includes('pools')) runPools();
  if (chosen.includes('address')) await runAddon('address', addressTests);
  if (chosen.includes('thread')) await runAddon('thread', threadTests);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
