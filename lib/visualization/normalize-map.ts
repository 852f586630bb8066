import { Tensor } from '../tensor.js';
import { readMap } from './map-values.js';

/**
 * A map scaled to 0..1: its minimum subtracted, then divided by its maximum, if that is above 0. What is the same
 * everywhere becomes 0.
 * @param map - `[H, W]`, finite
 * @returns float32 `[H, W]`
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`
 */
export function normalizeMap(map: Tensor): Tensor {
  const { values, width, height } = readMap(map);
  return Tensor.from(normalized(values), [height, width]);
}

/** @internal */
export function normalized(values: Float32Array): Float32Array {
  const lowest = values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const shifted = values.map((value) => value - lowest);
  const highest = shifted.reduce((a, b) => Math.max(a, b), 0);
  return highest > 0 ? shifted.map((value) => value / highest) : shifted;
}

/** Divided by the largest magnitude, so that 0 stays 0. @internal */
export function scaledByMagnitude(values: Float32Array): Float32Array {
  const largest = values.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  return largest > 0 ? values.map((value) => value / largest) : values;
}
