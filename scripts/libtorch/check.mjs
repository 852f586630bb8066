import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

/**
 * What is in a folder that may be LibTorch, a Python `torch` package, or a folder that holds one of them.
 * @param {string} folder
 * @returns {{ root: string, version: string, cuda: boolean } | { problem: string }}
 */
export function checkLibTorch(folder) {
  if (!existsSync(folder)) return { problem: 'the folder does not exist' };
  const roots = [resolve(folder), resolve(folder, 'libtorch'), resolve(folder, 'torch')];
  const root = roots.find((candidate) => existsSync(join(candidate, 'include', 'ATen', 'ATen.h')));
  if (!root) return { problem: 'it has no include/ATen/ATen.h' };
  for (const name of ['torch_cpu', 'c10']) {
    if (!hasLibrary(root, name)) return { problem: `it has no lib/lib${name}.so (.dylib, .lib)` };
  }
  const version = readVersion(root);
  if (!version) return { problem: 'its version cannot be told' };
  return { root, version, cuda: hasLibrary(root, 'torch_cuda') };
}

function hasLibrary(root, name) {
  return [`lib${name}.so`, `lib${name}.dylib`, `${name}.lib`].some((file) =>
    existsSync(join(root, 'lib', file)),
  );
}

/** The version that the headers state, "2.13.0"; where they moved again, what the packaging states. */
function readVersion(root) {
  const headers = ['torch/headeronly/version.h', 'torch/csrc/api/include/torch/version.h', 'torch/version.h'];
  for (const header of headers) {
    const text = readIfThere(join(root, 'include', header));
    const parts = ['MAJOR', 'MINOR', 'PATCH'].map(
      (part) => new RegExp(`#define TORCH_VERSION_${part} (\\d+)`).exec(text)?.[1],
    );
    if (parts.every((part) => part !== undefined)) return parts.join('.');
  }
  const packaged = readIfThere(join(root, 'build-version')) || readIfThere(join(root, 'version.py'));
  return /(?:^|__version__ = ')(\d+\.\d+\.\d+)/m.exec(packaged)?.[1] ?? null;
}

function readIfThere(path) {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}
