import { Tensor } from '../../tensor/tensor.js';
import { checkThreshold, readMap } from './map-values.js';

/**
 * Where a map is at least the threshold.
 * @param map - `[H, W]`, finite
 * @param threshold - default 0.5
 * @returns uint8 `[H, W]`: 1 where `map >= threshold`, else 0
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`
 */
export function binaryMask(map: Tensor, threshold = 0.5): Tensor {
  const atLeast = Math.fround(checkThreshold(threshold));
  const { values, width, height } = readMap(map);
  const mask = new Uint8Array(values.length);
  for (let pixel = 0; pixel < mask.length; pixel++) if ((values[pixel] as number) >= atLeast) mask[pixel] = 1;
  return Tensor.from(mask, [height, width]);
}
