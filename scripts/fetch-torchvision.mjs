// Fetches torchvision's library of operators (torchvision::nms, torchvision::roi_align), which detection models need,
// into the cache: the wheel that fits the LibTorch in use, 9 MB, through pip, without what it depends on. Does nothing
// where one is found already.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cacheFolder, fillCache } from './libtorch/cache.mjs';
import { offlineReason } from './libtorch/offline.mjs';
import { installWheel, packageIndex } from './libtorch/pip.mjs';
import { askPythons, pythonCommands } from './libtorch/python.mjs';
import { resolveLibTorch } from './libtorch/resolve.mjs';
import { torchvisionFor } from './libtorch/versions.mjs';

const buildFolder = join(dirname(dirname(fileURLToPath(import.meta.url))), 'build');
const libraries = ['_C.so', '_C_stable.so']; // the latter from 0.29 on
const cpuWheels = 'https://download.pytorch.org/whl/cpu';

async function fetchTorchvision(env, log) {
  const libtorch = await resolveLibTorch({ env, fetchMissing: false });
  const beside = join(dirname(libtorch.root), 'torchvision');
  if (hasLibrary(beside)) {
    log(`torchvision is there already, beside LibTorch: ${beside}`);
    return;
  }
  // A wheel for the CPU alone asks for less than the one for CUDA, but LibTorch must be of the same kind.
  const version = torchvisionFor(libtorch.version);
  const kind = isCpuBuild(libtorch.root) ? 'cpu' : 'cuda';
  const name = `torchvision-${version}-${process.platform}-${process.arch}-${kind}`;
  const target = join(cacheFolder(env), name);
  if (!hasLibrary(join(target, 'torchvision'))) {
    const offline = offlineReason(env);
    if (offline)
      throw new Error(`torchvision ${version} is not in the cache, and ${offline} forbids the download.`);
    const python = askPythons(env)[0]?.command;
    if (!python) throw new Error(`No Python was found (tried ${pythonCommands(env).join(', ')}).`);
    const wheel = `torchvision==${version}`;
    const index = kind === 'cpu' && !env.PIP_INDEX_URL ? ['--index-url', cpuWheels] : [];
    const from = index.length > 0 ? cpuWheels : packageIndex(env);
    log(`Downloading ${wheel} with ${python} -m pip from ${from} (9 MB)`);
    const fill = async (folder, signal) => {
      await installWheel(python, folder, ['--no-deps', ...index, wheel], { env, signal });
      removeUnneeded(folder);
    };
    await fillCache(target, fill, (folder) =>
      hasLibrary(join(folder, 'torchvision'))
        ? undefined
        : `there is no torchvision/${libraries.join(' or ')} in it`,
    );
  }
  mkdirSync(buildFolder, { recursive: true });
  const record = { folder: join(target, 'torchvision'), version };
  writeFileSync(join(buildFolder, 'torchvision.json'), `${JSON.stringify(record, null, 2)}\n`);
  log(`torchvision ${version}: ${record.folder}`);
}

function hasLibrary(folder) {
  return libraries.some((name) => existsSync(join(folder, name)));
}

/** PyTorch's CPU builds say so: "2.13.0+cpu". */
function isCpuBuild(root) {
  return ['build-version', 'version.py'].some((name) => {
    const file = join(root, name);
    return existsSync(file) && /\+cpu/.test(readFileSync(file, 'utf8'));
  });
}

/** Leaves the library and the metadata that tells which torch it was built for. */
function removeUnneeded(folder) {
  for (const name of readdirSync(folder)) {
    if (name !== 'torchvision' && !name.endsWith('.dist-info'))
      rmSync(join(folder, name), { recursive: true });
  }
  for (const name of readdirSync(join(folder, 'torchvision'))) {
    if (![...libraries, 'version.py'].includes(name))
      rmSync(join(folder, 'torchvision', name), { recursive: true });
  }
}

try {
  await fetchTorchvision(process.env, (line) => console.error(line));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
