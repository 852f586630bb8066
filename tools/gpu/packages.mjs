// The part of node_modules/ that is packed: which packages, and what of each.
import { cpSync, existsSync, readFileSync, statSync } from 'node:fs';
import { basename, join, relative, sep } from 'node:path';
import { root } from './folders.mjs';

/**
 * The folders of packages and of all that they depend on, as far as it is installed: what is for other platforms is not.
 * @param {string[]} names
 * @returns {string[]} from the repository's root, "node_modules/sharp"
 */
export function packagesWith(names) {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
  const found = new Set();
  const waiting = names.map((name) => [name, '']);
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const [name, from] = next;
    const folder = locate(packages, name, from);
    if (!folder || found.has(folder)) continue;
    if (!existsSync(join(root, folder))) {
      if (packages[folder].optional) continue;
      throw new Error(`${folder} is not installed. Run: npm install`);
    }
    found.add(folder);
    const { dependencies, optionalDependencies, peerDependencies } = packages[folder];
    for (const dependency of Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies })) {
      waiting.push([dependency, folder]);
    }
  }
  return [...found].sort();
}

/** Where a package finds another: in its own node_modules/, or in one further out. */
function locate(packages, name, from) {
  const parts = from.split('/node_modules/');
  const places = parts.map((_, index) => parts.slice(0, parts.length - index).join('/node_modules/'));
  return [...places.map((place) => `${place}/node_modules/${name}`), `node_modules/${name}`].find(
    (folder) => packages[folder],
  );
}

const unneededFile = /\.(?:map|markdown|md|ts|cts|mts|tsx|flow|html|yml|yaml|gyp|gypi|cc|c|cpp|tgz)$|^\./i;
const unneededFolder = /^(?:\.[^.].*|tests?|__tests__|docs?|examples?|benchmarks?|coverage|man)$/i;

/** Copies what running needs of a package: no types, maps, sources, documentation or tests. */
export function copyPackage(folder, target) {
  const from = join(root, folder);
  const filter = (path) => {
    const parts = relative(from, path).split(sep);
    if (parts[0] === '') return true;
    if (parts[0] === 'node_modules') return false; // packages of their own
    if (statSync(path).isDirectory()) return parts.length > 1 || !unneededFolder.test(parts[0]);
    return !unneededFile.test(basename(path));
  };
  cpSync(from, join(target, folder), { recursive: true, filter });
}
