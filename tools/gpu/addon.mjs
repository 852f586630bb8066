import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkLibTorch } from '../../scripts/libtorch/check.mjs';
import { askPythons } from '../../scripts/libtorch/python.mjs';
import { isSupported, supportedRange, testedVersions } from '../../scripts/libtorch/versions.mjs';
import { buildWithCMake } from './cmake.mjs';
import { lineOf, packedAddon, root } from './folders.mjs';
import { hashOf } from './sources.mjs';

const build = join(root, 'build');
const addon = join(build, 'cmake', 'gradcam.node');
const stampFile = join(build, 'gpu-stamp');

/** The LibTorch in a Python's torch. */
export function findLibTorch(python) {
  const answer = askPythons({ ...process.env, PYTHON: python }).find(({ command }) => command === python);
  if (!answer) throw new Error(`${python} does not start`);
  if (!answer.torch) throw new Error(`${python} has no torch`);
  const found = checkLibTorch(answer.torch);
  if (found.problem) throw new Error(`${answer.torch}: ${found.problem}`);
  if (!isSupported(found.version))
    throw new Error(`${answer.torch}: it is version ${found.version}, and ${supportedRange} is needed`);
  return found;
}

/** The environment in which an addon that was packed elsewhere finds LibTorch. */
export function environmentFor(libtorch) {
  const folders = [join(libtorch.root, 'lib'), process.env.LD_LIBRARY_PATH].filter(Boolean);
  return { ...process.env, LD_LIBRARY_PATH: folders.join(':') };
}

/**
 * Puts an addon into build/: the packed one, or where it does not fit, one that is built here.
 * @param {{ root: string, version: string }} libtorch
 * @param {object} how
 * @param {Record<string, string>} how.native the hashes of the sources that are here
 * @param {string[]} how.changed those that are not what the packed addons were built from
 * @param {number} how.seconds for a build
 * @param {(line: string) => void} how.log
 * @returns {Promise<{ origin: 'packed' | 'built', reason?: string }>}
 */
export async function provideAddon(libtorch, { native, changed, seconds, log }) {
  const stamp = hashOf(JSON.stringify([native, libtorch.root, libtorch.version]));
  if (existsSync(addon) && existsSync(stampFile)) {
    const { stamp: there, ...provided } = JSON.parse(readFileSync(stampFile, 'utf8'));
    if (there === stamp) return provided;
  }
  rmSync(stampFile, { force: true });
  const packed = packedAddon(lineOf(libtorch.version));
  let reason;
  if (changed.length > 0) reason = `${changed[0]} is not what the packed addons were built from`;
  else if (!existsSync(packed)) reason = `no addon is packed for LibTorch ${libtorch.version}`;
  else {
    rmSync(join(build, 'cmake'), { recursive: true, force: true });
    cpSync(packed, join(build, 'cmake'), { recursive: true });
    describe(libtorch);
    const problem = loadingProblem(libtorch);
    if (problem) reason = `the packed addon does not load: ${problem}`;
  }
  if (reason) {
    log(`building the addon: ${reason}`);
    // What a packed addon left is no build folder.
    if (!existsSync(join(build, 'cmake', 'CMakeCache.txt')))
      rmSync(join(build, 'cmake'), { recursive: true, force: true });
    await buildWithCMake(libtorch.root, join(build, 'cmake'), { seconds });
    describe(libtorch);
    const problem = loadingProblem(libtorch);
    if (problem) throw new Error(`The addon was built and does not load: ${problem}`);
  }
  const provided = reason ? { origin: 'built', reason } : { origin: 'packed' };
  writeFileSync(stampFile, JSON.stringify({ stamp, ...provided }));
  return provided;
}

/** As scripts/addon.mjs, for the library. Its own stamp would be of another build. */
function describe({ root: folder, version }) {
  rmSync(join(build, 'stamp'), { force: true });
  const record = { root: folder, version, source: 'python', testedVersions };
  writeFileSync(join(build, 'libtorch.json'), `${JSON.stringify(record, null, 2)}\n`);
}

function loadingProblem(libtorch) {
  const load = ['-e', 'require(process.argv[1]).close()', addon];
  const { status, stderr } = spawnSync(process.execPath, load, {
    env: environmentFor(libtorch),
    encoding: 'utf8',
    timeout: 60_000,
  });
  if (status === 0) return null;
  return /^(?:Error|TypeError): .*$/m.exec(stderr)?.[0] ?? (stderr.trim() || 'the process crashed');
}
