import { cachedLibTorch, fillCache } from './cache.mjs';
import { checkLibTorch } from './check.mjs';
import { defaultNetwork, downloadArchive, WrongArchiveError } from './download.mjs';
import { offlineReason } from './offline.mjs';
import { installWithPip } from './pip.mjs';
import { askPythons, pythonCommands } from './python.mjs';
import { isSupported, officialArchives, pinnedVersion, supportedRange } from './versions.mjs';

/** LibTorch was not found. The message lists every place that was tried, and the command that helps. */
export class LibTorchNotFoundError extends Error {
  code = 'ERR_LIBTORCH_NOT_FOUND';
  name = 'LibTorchNotFoundError';
}

/**
 * Finds LibTorch, or fetches it into the cache: `LIBTORCH`, the active Python's torch, the cache, a download.
 * What the user named (`LIBTORCH`, `LIBTORCH_URL`) and cannot be used is an error, never silently replaced.
 * `GRADCAM_OFFLINE=1` and `npm install --offline` forbid the download.
 *
 * @param {object} options
 * @param {NodeJS.ProcessEnv} [options.env]
 * @param {boolean} [options.fetchMissing] download when nothing is installed; default true
 * @param {(line: string) => void} [options.log] told each step that takes time or uses the network
 * @param {{ url: string, sha256: string, bytes?: number } | null} [options.officialArchive] default: this platform's
 * @param {Partial<typeof defaultNetwork>} [options.network]
 * @returns {Promise<{ root: string, version: string, cuda: boolean, source: string }>}
 */
export async function resolveLibTorch({
  env = process.env,
  fetchMissing = true,
  log = () => {},
  officialArchive = officialArchives[`${process.platform}-${process.arch}`] ?? null,
  network = {},
} = {}) {
  if (env.LIBTORCH) {
    const found = checkVersion(env.LIBTORCH);
    if (found.problem) throw namedButUnusable('LIBTORCH', `${env.LIBTORCH}: ${found.problem}`);
    return { ...found, source: 'LIBTORCH' };
  }

  const tried = [];
  const needsCuda = env.GRADCAM_CUDA === '1';
  const pythons = askPythons(env);
  if (env.LIBTORCH_USE_PYTORCH === '0') tried.push("Python's torch: skipped, LIBTORCH_USE_PYTORCH=0");
  else {
    if (pythons.length === 0) tried.push(noPython(env));
    for (const { command, torch } of pythons) {
      const found = torch ? checkVersion(torch, needsCuda) : { problem: 'it is not installed' };
      if (!found.problem) return { ...found, source: 'python' };
      tried.push(`${command}'s torch: ${torch ? `${torch}: ` : ''}${found.problem}`);
    }
  }

  const target = cachedLibTorch(env);
  const cached = checkVersion(target, needsCuda);
  if (!cached.problem) return { ...cached, source: 'cache' };
  tried.push(`the cache, ${target}: ${cached.problem}`);
  if (!fetchMissing) throw notFound(tried);
  const offline = offlineReason(env);
  if (offline) throw notFound([...tried, `the network: not used, ${offline}`]);

  const findProblem = (folder) => checkVersion(folder, needsCuda).problem;
  const context = { env, log, network: { ...defaultNetwork, ...network } };
  for (const { source, fill } of waysToFetch(env, pythons[0]?.command, officialArchive)) {
    try {
      await fillCache(target, (folder, signal) => fill(folder, { ...context, signal }), findProblem);
      return { ...checkVersion(target, needsCuda), source };
    } catch (error) {
      if (source === 'LIBTORCH_URL') throw namedButUnusable(source, error.message);
      if (error instanceof WrongArchiveError) throw wrongArchive(source, error.message);
      log(`${source}: ${error.message}`);
      tried.push(`${source}: ${error.message}`);
    }
  }
  throw notFound(tried);
}

/** The ways to fetch LibTorch into a folder, in order. */
function waysToFetch(env, python, officialArchive) {
  const archive = (source, spec) => ({
    source,
    fill: (folder, context) => downloadArchive(spec, folder, context),
  });
  if (env.LIBTORCH_URL) {
    return [archive('LIBTORCH_URL', { url: env.LIBTORCH_URL, sha256: env.LIBTORCH_SHA256 })];
  }
  const pip = {
    source: 'pip',
    fill: async (folder, context) => {
      if (!python) throw new Error(noPython(env));
      await installWithPip(python, folder, context);
    },
  };
  // The official archive is the CPU build.
  if (!officialArchive || env.GRADCAM_CUDA === '1') return [pip];
  return [archive('official archive', officialArchive), pip];
}

function checkVersion(folder, needsCuda = false) {
  const found = checkLibTorch(folder);
  if (found.problem) return found;
  if (!isSupported(found.version)) {
    return { problem: `it is version ${found.version}, and ${supportedRange} is needed` };
  }
  if (needsCuda && !found.cuda) return { problem: 'it has no CUDA, and GRADCAM_CUDA=1' };
  return found;
}

function noPython(env) {
  return `no Python was found (tried ${pythonCommands(env).join(', ')})`;
}

function namedButUnusable(variable, problem) {
  return new LibTorchNotFoundError(
    [
      `LibTorch ${supportedRange} cannot be taken from ${variable}: ${problem}`,
      `Correct ${variable}, or remove it to have LibTorch found or fetched, then run (in a clone: npm run build):`,
      '  npm rebuild node-gradcam',
    ].join('\n'),
  );
}

/** Whoever can change one download can change the next: pip does not take its place. */
function wrongArchive(source, problem) {
  return new LibTorchNotFoundError(
    [
      `LibTorch was fetched from the ${source}, but ${problem}.`,
      'It was changed on its way or at its place, or something between answered instead of it. Try again later, or from another network.',
      'Otherwise unpack a LibTorch that you trust and set LIBTORCH to its folder, then run (in a clone: npm run build):',
      '  npm rebuild node-gradcam',
    ].join('\n'),
  );
}

function notFound(tried) {
  return new LibTorchNotFoundError(
    [
      `LibTorch ${supportedRange} was not found. Tried:`,
      ...tried.map((line) => `  - ${line}`),
      'Unpack it anywhere and set LIBTORCH to that folder, or install it with (in a clone: npm run build at the end):',
      `  python3 -m pip install torch==${pinnedVersion} && npm rebuild node-gradcam`,
    ].join('\n'),
  );
}
