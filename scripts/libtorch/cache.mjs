import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { pinnedVersion } from './versions.mjs';

/** The folder for what this package downloads; `GRADCAM_CACHE` moves it. */
export function cacheFolder(env) {
  if (env.GRADCAM_CACHE) return env.GRADCAM_CACHE;
  const home = env.HOME || homedir();
  if (process.platform === 'darwin') return join(home, 'Library', 'Caches', 'node-gradcam');
  if (process.platform === 'win32') return join(env.LOCALAPPDATA || home, 'node-gradcam');
  return join(env.XDG_CACHE_HOME || join(home, '.cache'), 'node-gradcam');
}

/** Where the pinned LibTorch lies in the cache. */
export function cachedLibTorch(env) {
  return join(cacheFolder(env), `libtorch-${pinnedVersion}-${process.platform}-${process.arch}`);
}

/**
 * Lets `fill` make the cached LibTorch in a folder of its own, which takes its final name only when it is complete.
 * Nothing half-made stays behind: not after a failure, and not after Ctrl-C.
 * @param {NodeJS.ProcessEnv} env
 * @param {(folder: string) => Promise<void>} fill
 */
export async function fillCache(env, fill) {
  const target = cachedLibTorch(env);
  mkdirSync(cacheFolder(env), { recursive: true });
  const unfinished = mkdtempSync(`${target}.unfinished-`);
  const remove = () => rmSync(unfinished, { recursive: true, force: true });
  const onSignal = (signal) => {
    remove();
    process.exit(signal === 'SIGINT' ? 130 : 143);
  };
  process.once('SIGINT', onSignal);
  process.once('SIGTERM', onSignal);
  try {
    await fill(unfinished);
    try {
      renameSync(unfinished, target);
    } catch (error) {
      if (!existsSync(target)) throw error; // else another install was faster: its result is as good
    }
  } finally {
    process.removeListener('SIGINT', onSignal);
    process.removeListener('SIGTERM', onSignal);
    remove();
  }
}
