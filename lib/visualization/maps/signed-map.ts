import { argumentOutOfRange, invalidArgumentType } from '../../errors/errors.js';
import { readOptions } from '../../errors/options.js';
import { Tensor } from '../../tensor/tensor.js';
import { readAttribution } from './attribution-values.js';

export interface SignedMapOptions {
  /** Which part of the attribution to keep; all but `'all'` give maps from 0 to 1. Default `'all'`. */
  readonly sign?: 'all' | 'positive' | 'negative' | 'absolute';
  /** Percent of the total that the few largest values may exceed the scale by. Default 2. */
  readonly outlierPercentage?: number;
}

const signs = {
  all: (value: number) => value,
  positive: (value: number) => Math.max(value, 0),
  negative: (value: number) => Math.max(-value, 0),
  absolute: Math.abs,
} as const;

/**
 * A signed attribution as a map that can be drawn with the `'diverging'` colours: summed over the channels, divided by a
 * scale that a few outliers do not spoil, and cut to -1..1. As Captum's `visualize_image_attr` prepares attributions.
 * @param attribution - floating-point `[C, H, W]`: `attributions.at(0)`
 * @returns float32 `[H, W]`, -1 to 1; all 0 where the attribution is
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
 * @example showCamOnImage(image, signedMap(attributions.at(0)), { colormap: 'diverging', imageWeight: 0.2 });
 */
export function signedMap(attribution: Tensor, options?: SignedMapOptions): Tensor {
  const { sign = 'all', outlierPercentage = 2 } = readOptions<SignedMapOptions>(
    'signedMap options',
    options,
    ['sign', 'outlierPercentage'],
  );
  if (!Object.hasOwn(signs, sign))
    throw invalidArgumentType('sign', `one of '${Object.keys(signs).join("', '")}'`, sign);
  if (typeof outlierPercentage !== 'number' || !(outlierPercentage >= 0 && outlierPercentage < 100))
    throw argumentOutOfRange('outlierPercentage', 'a number from 0 to below 100', outlierPercentage);
  const { values, channels, width, height } = readAttribution(attribution, []);
  const area = width * height;
  const map = new Float32Array(area);
  for (let channel = 0; channel < channels; channel++) {
    for (let pixel = 0; pixel < area; pixel++)
      map[pixel] = (map[pixel] ?? 0) + (values[channel * area + pixel] ?? 0);
  }
  const kept = map.map(signs[sign]);
  const scale = scaleWithoutOutliers(kept, outlierPercentage);
  const scaled = scale > 0 ? kept.map((value) => Math.min(1, Math.max(-1, value / scale))) : kept.fill(0);
  return Tensor.from(scaled, [height, width]);
}

/** The magnitude up to which the smaller ones sum to all but the given share of the total. */
function scaleWithoutOutliers(values: Float32Array, outlierPercentage: number): number {
  const magnitudes = values.map(Math.abs).sort();
  const total = magnitudes.reduce((sum, value) => sum + value, 0);
  const enough = total * (1 - outlierPercentage / 100);
  let sum = 0;
  for (const magnitude of magnitudes) {
    sum += magnitude;
    if (sum >= enough) return magnitude;
  }
  return magnitudes.at(-1) ?? 0;
}
