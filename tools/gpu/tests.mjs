// Which tests run on the GPU machine.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './folders.mjs';

/** With --cpu: a handful whose models every supported LibTorch reads. */
const cpuTests = ['cam/golden', 'engine/engine', 'model/model', 'explainer/explainer'].map(
  (name) => `test/${name}.test.ts`,
);

/** @returns {string[]} from the repository's root */
export function testFiles(device) {
  if (device === 'cpu') return cpuTests;
  return readdirSync(join(root, 'test', 'cuda'))
    .filter((name) => name.endsWith('.test.ts'))
    .sort()
    .map((name) => `test/cuda/${name}`);
}

/** Compared on the GPU with what pytorch-grad-cam gives in float64. */
export const numericTests = ['cam/golden', 'cam/family', 'cam/transformers', 'model/kinds', 'clip/clip'].map(
  (name) => `test/${name}.test.ts`,
);

/** Patterns of titles that are left out there, with the reason. */
export function numericExceptions({ version }) {
  const exceptions = {
    '*encoder-norm-first: GradCAM, optimize false, float64':
      "PyTorch's closed encoder layer has another GELU on GPUs (7e-6)",
  };
  for (const method of ['hirescam', 'layercam'])
    exceptions[`*float16-${method}*`] =
      'its input is one whose ReLUs rounding on a CPU leaves alone; fused convolutions round elsewhere';
  if (version.startsWith('2.11.')) {
    const reason = 'the file was scripted by a newer PyTorch, whose operators 2.11 does not have';
    for (const title of ['target-segmentation*', 'methods that only look at activations*'])
      exceptions[`*${title}`] = reason;
  }
  return exceptions;
}
