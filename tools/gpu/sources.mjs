import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { nativeSources } from '../../scripts/addon.mjs';
import { root } from './folders.mjs';

/**
 * What the packed addons and the packed JavaScript are made of, so that a checkout of something else is told apart.
 * @returns {{ native: Record<string, string>, typescript: Record<string, string> }} a hash of each file
 */
export function hashSources() {
  const compiled = ['lib', 'test', 'examples'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => /\.tsx?$/.test(name))
      .map((name) => join(folder, name)),
  );
  return { native: hashEach(nativeSources()), typescript: hashEach(compiled.sort()) };
}

function hashEach(names) {
  return Object.fromEntries(names.map((name) => [name, hashOf(readFileSync(join(root, name)))]));
}

/** The names whose hashes differ, or which only one of the two has. */
export function differences(packed, here) {
  return [...new Set([...Object.keys(packed), ...Object.keys(here)])].filter(
    (name) => packed[name] !== here[name],
  );
}

export function hashOf(content) {
  return createHash('sha256').update(content).digest('hex').slice(0, 16);
}

/**
 * The packages that JavaScript files import, directly or by way of files of ours.
 * @param {string[]} files absolute
 */
export function importedPackages(files) {
  const packages = new Set();
  const seen = new Set();
  const waiting = [...files];
  for (let file = waiting.pop(); file; file = waiting.pop()) {
    if (seen.has(file) || !existsSync(file)) continue;
    seen.add(file);
    for (const [, name] of readFileSync(file, 'utf8').matchAll(/\b(?:from|import)\s*\(?\s*'([^']+)'/g)) {
      if (name.startsWith('.')) waiting.push(join(file, '..', name));
      else if (!/^(?:node:|node-gradcam\b)/.test(name)) packages.add(/^(?:@[^/]+\/)?[^/]+/.exec(name)[0]);
    }
  }
  return [...packages];
}
