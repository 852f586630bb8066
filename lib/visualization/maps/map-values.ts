import { argumentOutOfRange, invalidArgumentType } from '../../errors/errors.js';
import { Tensor } from '../../tensor/tensor.js';
import type { RgbImage } from '../pictures/rgb-image.js';

/** A map's values, row by row. */
export interface MapValues {
  readonly values: Float32Array;
  readonly width: number;
  readonly height: number;
}

/**
 * The values of a map `[H, W]`, finite.
 * @internal
 */
export function readMap(map: Tensor): MapValues {
  if (!(map instanceof Tensor)) throw invalidArgumentType('map', 'a Tensor', map);
  const [height = 0, width = 0] = map.shape;
  if (map.shape.length !== 2 || height < 1 || width < 1) {
    throw argumentOutOfRange(
      'map',
      'a map of shape [H, W] (take one of several with heatmaps.at(0))',
      `[${map.shape.join(', ')}]`,
    );
  }
  const given = map.toTypedArray();
  if (!(given instanceof Float32Array || given instanceof Float64Array))
    throw invalidArgumentType('map', 'a floating-point tensor', map.dtype);
  for (const value of given) {
    if (!Number.isFinite(value)) throw argumentOutOfRange('map', 'finite values', value);
  }
  return { values: given instanceof Float32Array ? given : Float32Array.from(given), width, height };
}

/**
 * The values of a map of the image's size.
 * @internal
 */
export function readMapOf(image: RgbImage, map: Tensor): Float32Array {
  if (!(map instanceof Tensor)) throw invalidArgumentType('map', 'a Tensor', map);
  const [height, width] = map.shape;
  if (map.shape.length !== 2 || height !== image.height || width !== image.width) {
    throw argumentOutOfRange(
      'map',
      `a map of shape [${image.height}, ${image.width}], the image's (take one of several with heatmaps.at(0))`,
      `[${map.shape.join(', ')}]`,
    );
  }
  return readMap(map).values;
}

/** @internal */
export function checkRange(values: Float32Array, lowest: number): void {
  for (const value of values) {
    if (value >= lowest && value <= 1) continue;
    const cure =
      lowest === 0 ? 'see normalizeMap(), or signedMap() with the diverging colours' : 'see signedMap()';
    throw argumentOutOfRange('map', `values from ${lowest} to 1 (${cure})`, value);
  }
}

/** @internal */
export function checkThreshold(threshold: unknown, name = 'threshold'): number {
  if (typeof threshold !== 'number') throw invalidArgumentType(name, 'a number', threshold);
  if (!Number.isFinite(threshold)) throw argumentOutOfRange(name, 'a finite number', threshold);
  return threshold;
}
