import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  createWriteStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BuildProgress } from './build-progress.mjs';
import { jobsAtOnce } from './jobs.mjs';
import { resolveLibTorch } from './libtorch/resolve.mjs';
import { testedVersions } from './libtorch/versions.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const require = createRequire(import.meta.url);

/**
 * Builds the native addon against LibTorch, which is found or fetched, unless what is there is up to date.
 * @param {(line: string) => void} log
 * @param {object} [how]
 * @param {string} [how.buildFolder] default: build/, where the package looks for it
 * @param {NodeJS.ProcessEnv} [how.env] by which LibTorch is found
 * @param {'' | 'address' | 'thread'} [how.sanitize] compile with that sanitizer
 * @param {string} [how.unity] '1': a few large files, the shortest build from nothing; '0': each file, with a precompiled
 *   header, the shortest after a change. Default: GRADCAM_UNITY, else as the folder was built last, at first '1'
 */
export async function buildAddon(
  log,
  { buildFolder = join(root, 'build'), env = process.env, sanitize = '', unity = env.GRADCAM_UNITY } = {},
) {
  const libtorch = await resolveLibTorch({ env, log });
  const from = `LibTorch ${libtorch.version} from ${libtorch.source} at ${libtorch.root}`;
  const stamp = stampOf(libtorch, sanitize);
  const stampFile = join(buildFolder, 'stamp');
  const addonFile = join(buildFolder, 'cmake', 'gradcam.node');
  if (existsSync(addonFile) && existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp) {
    log(`addon is up to date (${from})`);
    return;
  }
  const jobs = jobsAtOnce(2.5); // a compiler that parses LibTorch's headers, generously
  log(`building the addon with ${from}, ${jobs === 1 ? 'one file' : `${jobs} files`} at a time`);
  const started = Date.now();
  mkdirSync(buildFolder, { recursive: true });
  rmSync(stampFile, { force: true });
  await runCMakeJs(libtorch.root, buildFolder, { sanitize, unity, jobs });
  const { root: libtorchRoot, version, source } = libtorch;
  const record = { root: libtorchRoot, version, source, testedVersions };
  writeFileSync(join(buildFolder, 'libtorch.json'), `${JSON.stringify(record, null, 2)}\n`);
  writeFileSync(stampFile, stamp);
  log(`built in ${((Date.now() - started) / 1000).toFixed(0)} s`);
}

/** The files of ours that the addon is made of, from the package's root. */
export function nativeSources() {
  const sources = readdirSync(join(root, 'native'), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(cc|h)$/.test(name))
    .sort();
  return ['CMakeLists.txt', ...sources.map((source) => join('native', source))];
}

/** Changes when anything that the addon is made of does. */
function stampOf(libtorch, sanitize) {
  const hash = createHash('sha256');
  for (const name of nativeSources()) hash.update(name).update(readFileSync(join(root, name)));
  const headers = JSON.parse(readFileSync(require.resolve('node-addon-api/package.json'), 'utf8')).version;
  const warnings = process.env.GRADCAM_WERROR === '1';
  hash.update(
    JSON.stringify([
      libtorch.root,
      libtorch.version,
      headers,
      process.platform,
      process.arch,
      warnings,
      sanitize,
    ]),
  );
  return hash.digest('hex');
}

/** CMake's output goes to a file, and to the terminal only when it fails or GRADCAM_VERBOSE=1. */
async function runCMakeJs(libtorchRoot, buildFolder, { sanitize, unity, jobs }) {
  const program = join(dirname(require.resolve('cmake-js/package.json')), 'bin', 'cmake-js');
  const options = ['--directory', root, '--out', join(buildFolder, 'cmake'), '--parallel', String(jobs)];
  const definitions = [
    `--CDGRADCAM_LIBTORCH=${libtorchRoot}`,
    `--CDGRADCAM_SANITIZE=${sanitize}`,
    `--CDGRADCAM_WERROR=${process.env.GRADCAM_WERROR === '1' ? 'ON' : 'OFF'}`,
    ...(unity ? [`--CDGRADCAM_UNITY=${unity === '0' ? 'OFF' : 'ON'}`] : []),
  ];
  const logFile = join(buildFolder, 'build.log');
  const verbose = process.env.GRADCAM_VERBOSE === '1';
  // configure runs each time: another LibTorch must reach an existing build folder.
  for (const step of ['configure', 'build']) {
    await run([program, step, ...options, ...definitions], join(buildFolder, 'cmake'), logFile, verbose);
  }
}

function run(args, cmakeFolder, logFile, verbose) {
  return new Promise((resolve, reject) => {
    const output = createWriteStream(logFile, { flags: args[1] === 'configure' ? 'w' : 'a' });
    const child = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr]) {
      stream.pipe(output, { end: false });
      if (verbose) stream.pipe(process.stderr, { end: false });
    }
    const progress = verbose ? undefined : new BuildProgress(cmakeFolder);
    child.stdout.setEncoding('utf8').on('data', (text) => progress?.read(text));
    child.once('error', reject);
    child.once('close', (code) => {
      progress?.end();
      output.end(() => {
        if (code === 0) resolve();
        else reject(new Error(describeFailure(logFile)));
      });
    });
  });
}

function describeFailure(logFile) {
  const lines = readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-40);
  return [
    'The native addon could not be built. It needs CMake 3.22 and a C++20 compiler (GCC 11, Clang 14 or newer).',
    `The end of ${logFile}:`,
    ...lines.map((line) => `  ${line}`),
  ].join('\n');
}
