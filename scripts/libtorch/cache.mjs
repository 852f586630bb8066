import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { constants, homedir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { pinnedVersion } from './versions.mjs';

const oneDay = 24 * 60 * 60 * 1000;

/** The folder for what this package downloads; `GRADCAM_CACHE` moves it. */
export function cacheFolder(env) {
  if (env.GRADCAM_CACHE) return resolve(env.GRADCAM_CACHE);
  const home = env.HOME || homedir();
  if (process.platform === 'darwin') return join(home, 'Library', 'Caches', 'node-gradcam');
  if (process.platform === 'win32') return join(env.LOCALAPPDATA || home, 'node-gradcam');
  return join(env.XDG_CACHE_HOME || join(home, '.cache'), 'node-gradcam');
}

/** Where the pinned LibTorch lies in the cache; the one with CUDA (`GRADCAM_CUDA=1`) has a place of its own. */
export function cachedLibTorch(env) {
  const suffix = env.GRADCAM_CUDA === '1' ? '-cuda' : '';
  return join(cacheFolder(env), `libtorch-${pinnedVersion}-${process.platform}-${process.arch}${suffix}`);
}

/**
 * Lets `fill` make `target` in a folder of its own, which takes the final name only when it is complete and usable.
 * Nothing half-made stays behind: not after a failure, and not after Ctrl-C, which ends the process.
 * @param {string} target
 * @param {(folder: string, signal: AbortSignal) => Promise<void>} fill stops its children when the signal aborts
 * @param {(folder: string) => string | undefined} findProblem why a folder cannot be used
 */
export async function fillCache(target, fill, findProblem) {
  mkdirSync(dirname(target), { recursive: true });
  removeAbandoned(target);
  const unfinished = `${target}.unfinished-${randomUUID()}`;
  mkdirSync(unfinished);
  const interruption = new AbortController();
  const onSignal = (name) => interruption.abort(name);
  process.once('SIGINT', onSignal);
  process.once('SIGTERM', onSignal);
  try {
    await fill(unfinished, interruption.signal);
    const problem = findProblem(unfinished);
    if (problem) throw new Error(`what was fetched cannot be used: ${problem}`);
    moveInto(target, unfinished, findProblem);
  } finally {
    process.removeListener('SIGINT', onSignal);
    process.removeListener('SIGTERM', onSignal);
    rmSync(unfinished, { recursive: true, force: true, maxRetries: 5 });
    if (interruption.signal.aborted) process.exit(128 + constants.signals[interruption.signal.reason]);
  }
}

function moveInto(target, folder, findProblem) {
  try {
    renameSync(folder, target);
  } catch (error) {
    if (!existsSync(target)) throw error;
    if (!findProblem(target)) return; // another install was faster: its result is as good
    const damaged = `${folder}.damaged`;
    renameSync(target, damaged);
    renameSync(folder, target);
    rmSync(damaged, { recursive: true, force: true });
  }
}

/** Removes what installs left that were killed; younger folders may belong to one that is running. */
function removeAbandoned(target) {
  for (const name of readdirSync(dirname(target))) {
    if (!name.startsWith(`${basename(target)}.unfinished-`)) continue;
    const path = join(dirname(target), name);
    const modified = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now();
    if (Date.now() - modified > oneDay) rmSync(path, { recursive: true, force: true });
  }
}
