import { readFileSync } from 'node:fs';
import { Tensor, type TensorData } from 'node-gradcam';
import { fixturePath, rootPath } from './root.js';

/** A real model, small for one. */
export const liteModel: string = rootPath('examples/models/efficientnet_lite0.pt');

export interface StoredArray {
  readonly file: string;
  readonly shape: readonly number[];
  readonly dtype?: 'float32' | 'float64';
}

export function readJson<T>(name: string): T {
  return JSON.parse(readFileSync(fixturePath(name), 'utf8')) as T;
}

/** A little-endian array that tools/fixtures/networks/golden.py stored. */
export function readArray({ file, dtype = 'float32' }: StoredArray): Float32Array | Float64Array {
  const bytes = readFileSync(fixturePath(file));
  const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
  return dtype === 'float64' ? new Float64Array(buffer) : new Float32Array(buffer);
}

export function readTensor(stored: StoredArray): Tensor {
  return Tensor.from(readArray(stored), stored.shape);
}

export function maxDifference(actual: TensorData, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY;
  let largest = 0;
  for (let index = 0; index < expected.length; index++) {
    const difference = Math.abs(Number(actual[index]) - (expected[index] ?? Number.NaN));
    if (!(difference <= largest)) largest = difference; // NaN too
  }
  return largest;
}

/** True where all bits are the same. (AVA compares large arrays, too, but takes seconds for it.) */
export function sameBits(actual: ArrayBufferView, expected: ArrayBufferView): boolean {
  const bytes = (each: ArrayBufferView) => Buffer.from(each.buffer, each.byteOffset, each.byteLength);
  return bytes(actual).equals(bytes(expected));
}

/** Fixed pseudo-random values in -1..1 (a linear congruential generator). */
export function noise(length: number, seed = 1): Float32Array {
  let state = seed >>> 0;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** How far bytes are from those expected, on the scale 0 to 255; NaN where some are missing. */
export function byteDifference(bytes: Uint8Array, expected: Uint8Array): { mean: number; largest: number } {
  let sum = 0;
  let largest = 0;
  for (const [position, value] of expected.entries()) {
    const difference = Math.abs((bytes[position] ?? Number.NaN) - value);
    sum += difference;
    largest = Math.max(largest, difference);
  }
  return { mean: sum / expected.length, largest };
}
