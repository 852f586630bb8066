// Which tests run on the GPU machine.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './folders.mjs';

/** The tests that need a CUDA device. */
const cudaTest = /^(?:cuda[^/]*|cuda\/.*)\.test\.ts$/;

/** With --cpu: a handful whose models every supported LibTorch reads. */
const cpuTests = ['golden', 'engine', 'model', 'explainer'].map((name) => `test/${name}.test.ts`);

/** @returns {string[]} from the repository's root */
export function testFiles(device) {
  if (device === 'cpu') return cpuTests;
  return readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((name) => cudaTest.test(name))
    .sort()
    .map((name) => `test/${name}`);
}
