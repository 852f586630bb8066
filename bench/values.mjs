import { readFileSync } from 'node:fs';

export function readFloats(path) {
  const bytes = readFileSync(path);
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}

/** The largest difference, NaN and missing values counted as infinite; `relative` to the largest expected value. */
export function largestDifference(found, expected, { relative = false } = {}) {
  if (found.length !== expected.length) return Number.MAX_VALUE;
  let most = 0;
  let scale = 0;
  for (let index = 0; index < found.length; index++) {
    const difference = Math.abs(found[index] - expected[index]);
    if (!(difference <= most)) most = Number.isNaN(difference) ? Number.MAX_VALUE : difference;
    scale = Math.max(scale, Math.abs(expected[index]));
  }
  return relative ? most / scale : most;
}
