import { cachedLibTorch, fillCache } from './cache.mjs';
import { checkLibTorch } from './check.mjs';
import { downloadArchive } from './download.mjs';
import { installWithPip } from './pip.mjs';
import { findPython, findPythonTorch, pythonCommands } from './python.mjs';
import { isSupported, officialArchives, pinnedVersion } from './versions.mjs';

/** LibTorch was not found. The message lists every place that was tried, and the command that helps. */
export class LibTorchNotFoundError extends Error {
  code = 'ERR_LIBTORCH_NOT_FOUND';
  name = 'LibTorchNotFoundError';
}

/**
 * Finds LibTorch, or fetches it into the cache: `LIBTORCH`, the active Python's torch, the cache, a download.
 * What the user named (`LIBTORCH`, `LIBTORCH_URL`) and cannot be used is an error, never silently replaced.
 *
 * @param {object} options
 * @param {NodeJS.ProcessEnv} [options.env]
 * @param {boolean} [options.fetchMissing] download when nothing is installed; default true
 * @param {(line: string) => void} [options.log] told each step that takes time or uses the network
 * @param {{ url: string, sha256: string } | null} [options.officialArchive] default: this platform's
 * @returns {Promise<{ root: string, version: string, source: string }>}
 */
export async function resolveLibTorch({
  env = process.env,
  fetchMissing = true,
  log = () => {},
  officialArchive = officialArchives[`${process.platform}-${process.arch}`] ?? null,
} = {}) {
  const tried = [];

  if (env.LIBTORCH) {
    const found = usable(env.LIBTORCH);
    if (found.problem) throw notFound([`LIBTORCH=${env.LIBTORCH}: ${found.problem}`]);
    return { ...found, source: 'LIBTORCH' };
  }

  const python = findPython(env);
  if (env.LIBTORCH_USE_PYTORCH === '0') tried.push("Python's torch: skipped, LIBTORCH_USE_PYTORCH=0");
  else {
    const found = fromPython(python, env);
    if (!found.problem) return { ...found, source: "Python's torch" };
    tried.push(`Python's torch: ${found.problem}`);
  }

  const cached = usable(cachedLibTorch(env));
  if (!cached.problem) return { ...cached, source: 'cache' };
  tried.push(`the cache, ${cachedLibTorch(env)}: ${cached.problem}`);
  if (!fetchMissing) throw notFound(tried);

  for (const download of downloads({ env, python, officialArchive, log })) {
    try {
      await fillCache(env, download.into);
      const fetched = usable(cachedLibTorch(env));
      if (fetched.problem) throw new Error(fetched.problem);
      return { ...fetched, source: download.source };
    } catch (error) {
      tried.push(`${download.source}: ${error.message}`);
      log(`${download.source}: ${error.message}`);
      if (download.required) break;
    }
  }
  throw notFound(tried);
}

/** The ways to fetch LibTorch, in order. */
function downloads({ env, python, officialArchive, log }) {
  if (env.LIBTORCH_URL) {
    const archive = { url: env.LIBTORCH_URL, sha256: env.LIBTORCH_SHA256, log };
    return [
      {
        source: `LIBTORCH_URL=${env.LIBTORCH_URL}`,
        required: true,
        into: (folder) => downloadArchive({ ...archive, folder }),
      },
    ];
  }
  const ways = [];
  if (officialArchive) {
    ways.push({
      source: 'the official archive',
      into: (folder) => downloadArchive({ ...officialArchive, folder, log }),
    });
  }
  ways.push({
    source: 'pip',
    into: (folder) => {
      if (!python) throw new Error(`no Python was found (tried ${pythonCommands(env).join(', ')})`);
      return installWithPip({ python, folder, env, log });
    },
  });
  return ways;
}

function fromPython(python, env) {
  if (!python) return { problem: `no Python was found (tried ${pythonCommands(env).join(', ')})` };
  const folder = findPythonTorch(python, env);
  if (!folder) return { problem: `${python} has no torch` };
  const found = usable(folder);
  return found.problem ? { problem: `${folder}: ${found.problem}` } : found;
}

function usable(folder) {
  const found = checkLibTorch(folder);
  if (found.problem || isSupported(found.version)) return found;
  return { problem: `it is version ${found.version}, and ${pinnedVersion} is needed` };
}

function notFound(tried) {
  return new LibTorchNotFoundError(
    [
      `LibTorch ${pinnedVersion} was not found. Tried:`,
      ...tried.map((line) => `  - ${line}`),
      'To fix it, install it and try again:',
      `  python3 -m pip install torch==${pinnedVersion} && npm rebuild node-gradcam`,
      'or unpack it anywhere and set LIBTORCH to that folder.',
    ].join('\n'),
  );
}
