import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const cpuLibraries = ['libtorch_cpu.so', 'libtorch_cpu.dylib', 'torch_cpu.lib'];

/**
 * What is in a folder that may be LibTorch, a Python `torch` package, or a folder that holds one of them.
 * @param {string} folder
 * @returns {{ root: string, version: string } | { problem: string }}
 */
export function checkLibTorch(folder) {
  if (!existsSync(folder)) return { problem: 'the folder does not exist' };
  const roots = [folder, join(folder, 'libtorch'), join(folder, 'torch')];
  const root = roots.find((candidate) => existsSync(join(candidate, 'include', 'ATen', 'ATen.h')));
  if (!root) return { problem: 'it has no include/ATen/ATen.h' };
  if (!cpuLibraries.some((name) => existsSync(join(root, 'lib', name)))) {
    return { problem: `it has no lib/${cpuLibraries[0]}` };
  }
  const version = readVersion(root);
  return version ? { root, version } : { problem: 'its version cannot be told' };
}

/** The version that the headers state, "2.13.0". */
function readVersion(root) {
  const headers = ['torch/headeronly/version.h', 'torch/csrc/api/include/torch/version.h'];
  for (const header of headers) {
    const path = join(root, 'include', header);
    if (!existsSync(path)) continue;
    const text = readFileSync(path, 'utf8');
    const parts = ['MAJOR', 'MINOR', 'PATCH'].map(
      (part) => new RegExp(`#define TORCH_VERSION_${part} (\\d+)`).exec(text)?.[1],
    );
    if (parts.every((part) => part !== undefined)) return parts.join('.');
  }
  return null;
}
