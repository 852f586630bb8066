// Copies of the package whose addon is built in another way: with a sanitizer, or against another LibTorch. The tests run
// in such a copy as they run in the repository, and build/ stays as it is.
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildAddon } from '../../../scripts/addon.mjs';

export const root = fileURLToPath(new URL('../../..', import.meta.url));

/** Runs the tests of the folder it is started in. */
export const avaProgram = join(root, 'node_modules', 'ava', 'entrypoints', 'cli.mjs');

// The library finds its package, and with it the addon, from where its own files are: these cannot be links.
const copied = ['package.json', 'dist'];
const leftOut = ['.git', 'build', 'build-variants'];

/**
 * Makes or updates build-variants/NAME. The TypeScript must have been compiled.
 * @param {string} name
 * @param {{ env?: NodeJS.ProcessEnv, sanitize?: '' | 'address' | 'thread' }} how as for `buildAddon`
 * @returns {Promise<string>} its folder
 */
export async function makeVariant(name, how) {
  const folder = join(root, 'build-variants', name);
  mkdirSync(folder, { recursive: true });
  for (const entry of readdirSync(folder)) {
    if (entry !== 'build') rmSync(join(folder, entry), { recursive: true });
  }
  for (const entry of readdirSync(root)) {
    if (copied.includes(entry)) cpSync(join(root, entry), join(folder, entry), { recursive: true });
    else if (!leftOut.includes(entry)) symlinkSync(join(root, entry), join(folder, entry));
  }
  const log = (line) => console.error(`${name}: ${line}`);
  await buildAddon(log, { ...how, buildFolder: join(folder, 'build') });
  // The torchvision that was fetched fits the LibTorch of build/; beside another LibTorch lies its own.
  const torchvision = join('build', 'torchvision.json');
  if (!how.env && existsSync(join(root, torchvision)))
    cpSync(join(root, torchvision), join(folder, torchvision));
  return folder;
}
