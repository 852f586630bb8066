import { Tensor } from '../../tensor/tensor.js';
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
  let lowest = Number.POSITIVE_INFINITY;
  for (const value of values) if (value < lowest) lowest = value;
  return scaled(values, lowest);
}

/** Divided by the largest magnitude, so that 0 stays 0. @internal */
export function scaledByMagnitude(values: Float32Array): Float32Array {
  return scaled(values, 0);
}

/** In float32: less `zero`, then divided by the largest magnitude. */
function scaled(values: Float32Array, zero: number): Float32Array {
  const result = new Float32Array(values.length);
  let largest = 0;
  for (let index = 0; index < values.length; index++) {
    const value = Math.fround((values[index] as number) - zero);
    result[index] = value;
    if (Math.abs(value) > largest) largest = Math.abs(value);
  }
  if (largest > 0)
    for (let index = 0; index < result.length; index++) result[index] = (result[index] as number) / largest;
  return result;
}
