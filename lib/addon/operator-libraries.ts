import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { GradCamError } from '../errors/errors.js';
import { native, packageRoot, readLibTorchRecord } from './addon.js';
import { packageFolder, packageFolderSync, pythonCommands } from './python.js';

/**
 * Custom operators live in libraries of their own. torchvision's (`torchvision::nms`, `torchvision::roi_align`) is looked
 * for when a model needs it; any other is named with `loadModel(path, { libraries })`.
 */

/** torchvision's library: the file, and what led to it. */
export interface TorchvisionLibrary {
  readonly path: string;
  /** `'TORCHVISION_LIBRARY'`, `'cache'`, `'beside LibTorch'` or `'python'`. */
  readonly source: string;
  /** torchvision's version; null where nothing beside the library tells. */
  readonly version: string | null;
  /** Why it cannot be used with this LibTorch, else null. */
  readonly problem: string | null;
}

/**
 * Looks for torchvision's library: the file or folder in `TORCHVISION_LIBRARY`, what scripts/fetch-torchvision.mjs
 * fetched, beside LibTorch, the active Python's. Null where there is none.
 * @internal
 */
export async function findTorchvision(): Promise<TorchvisionLibrary | null> {
  const known = findInKnownPlaces();
  if (known) return known;
  for (const command of pythonCommands()) {
    const folder = await packageFolder(command, 'torchvision');
    if (folder && libraryIn(folder)) return describe(folder, 'python');
  }
  return null;
}

/** @internal The same, for when nothing else is to be done meanwhile. */
export function findTorchvisionSync(): TorchvisionLibrary | null {
  const known = findInKnownPlaces();
  if (known) return known;
  for (const command of pythonCommands()) {
    const folder = packageFolderSync(command, 'torchvision');
    if (folder && libraryIn(folder)) return describe(folder, 'python');
  }
  return null;
}

function findInKnownPlaces(): TorchvisionLibrary | null {
  const { env } = process;
  if (env.TORCHVISION_LIBRARY) return describe(resolve(env.TORCHVISION_LIBRARY), 'TORCHVISION_LIBRARY');
  const fetched = readRecord();
  if (fetched && libraryIn(fetched)) return describe(fetched, 'cache');
  const libtorch = readLibTorchRecord();
  if (libtorch) {
    const beside = [join(dirname(libtorch.root), 'torchvision'), libtorch.root];
    const found = beside.find((folder) => libraryIn(folder));
    if (found) return describe(found, 'beside LibTorch');
  }
  return null;
}

/** What the fetching script wrote. */
function readRecord(): string | null {
  try {
    const record = JSON.parse(readFileSync(join(packageRoot, 'build', 'torchvision.json'), 'utf8'));
    return typeof record.folder === 'string' ? record.folder : null;
  } catch {
    return null;
  }
}

/** torchvision's library in its Python package, or in an installation from its C++ sources. */
function libraryIn(folder: string): string | null {
  // _C_stable: from 0.29 on.
  const names = [
    '_C.so',
    '_C_stable.so',
    'lib/libtorchvision.so',
    'lib64/libtorchvision.so',
    'libtorchvision.so',
  ];
  const paths = names.map((name) => join(folder, name));
  return paths.find((path) => existsSync(path)) ?? null;
}

function describe(place: string, source: string): TorchvisionLibrary {
  const isFolder = statSync(place, { throwIfNoEntry: false })?.isDirectory() ?? false;
  const path = (isFolder ? libraryIn(place) : null) ?? place;
  const { version, torch } = readMetadata(dirname(path));
  const present = native().buildInfo().torchVersion;
  const fits = torch === null || (torch.orNewer ? isAtLeast : isSameLine)(present, torch.version);
  let problem: string | null = null;
  if (!existsSync(path)) problem = 'there is no such file';
  else if (isFolder && path === place) problem = 'there is no _C.so, _C_stable.so or libtorchvision.so in it';
  else if (!fits)
    problem = `it was built for LibTorch ${torch?.version}${torch?.orNewer ? ' or newer' : ''}, and this is ${present}`;
  return { path, source, version, problem };
}

/** What the Python package's metadata says: its version, and that of the torch it was built for. */
function readMetadata(folder: string): {
  version: string | null;
  torch: { version: string; orNewer: boolean } | null;
} {
  try {
    const site = dirname(folder);
    const info = readdirSync(site).find((name) => /^torchvision-.*\.dist-info$/.test(name));
    const text = info ? readFileSync(join(site, info, 'METADATA'), 'utf8') : '';
    const [, relation, torch] = /^Requires-Dist: torch *\(?([=>]=)([\d.]+)/m.exec(text) ?? [];
    return {
      version: /^Version: (\S+)/m.exec(text)?.[1] ?? null,
      torch: torch ? { version: torch, orNewer: relation === '>=' } : null,
    };
  } catch {
    return { version: null, torch: null };
  }
}

const isSameLine = (version: string, other: string): boolean => compareLines(version, other) === 0;
const isAtLeast = (version: string, other: string): boolean => compareLines(version, other) >= 0;

/** Negative, zero or positive, by major and minor version. */
function compareLines(version: string, other: string): number {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [otherMajor = 0, otherMinor = 0] = other.split('.').map(Number);
  return major - otherMajor || minor - otherMinor;
}

/** @internal The error of a model whose operators are missing, with the cure. */
export function missingOperator(
  modelPath: string,
  operator: string,
  torchvision: TorchvisionLibrary | null,
  cause: unknown,
): GradCamError {
  return new GradCamError(
    'ERR_MISSING_OPERATOR',
    `The model '${modelPath}' uses ${operator}, which LibTorch itself does not have. ${cure(operator, torchvision)}`,
    { cause, details: { path: modelPath, operator } },
  );
}

function cure(operator: string, torchvision: TorchvisionLibrary | null): string {
  if (operator.startsWith('aten::')) {
    const { torchVersion } = native().buildInfo();
    return `It was made with a newer torch than ${torchVersion}, which this is: export it with that, or build against the newer LibTorch.`;
  }
  if (!operator.startsWith('torchvision::'))
    return 'Name the library that has it: loadModel(path, { libraries: [file] }).';
  if (torchvision?.problem)
    return `torchvision's library at ${torchvision.path} (${torchvision.source}) cannot be used: ${torchvision.problem}. ${fetchIt}`;
  if (torchvision)
    return `torchvision's library at ${torchvision.path} was loaded, but does not have it either: it may be of another version.`;
  return `torchvision's library, which has it, was not found. ${fetchIt}`;
}

const fetchIt =
  'Fetch the one that fits with: node node_modules/node-gradcam/scripts/fetch-torchvision.mjs (in a clone: ' +
  'node scripts/fetch-torchvision.mjs), or set TORCHVISION_LIBRARY to its file. "gradcam doctor" shows what is found.';
