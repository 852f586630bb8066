import { argumentOutOfRange, invalidArgumentType } from '../errors/errors.js';
import type { Model, ModelInput } from '../model/model.js';
import type { Tensor } from '../tensor/tensor.js';
import { type MetricOptions, scoreChange } from './perturbed-scores.js';

export interface RoadOptions extends MetricOptions {
  /** Share of pixels that stay, in percent, or `'auto'` for Otsu's threshold of each map. Default 80. */
  readonly percentile?: number | 'auto';
  /** Standard deviation of the noise on imputed pixels. Default 0.01. */
  readonly noise?: number;
  /** Equal seeds give equal noise. Default 0. */
  readonly seed?: number;
}

export interface RoadAverageOptions extends Omit<RoadOptions, 'percentile'> {
  /** Default 10, 20, ..., 90. */
  readonly percentiles?: readonly number[];
}

async function removal(
  kind: 'remove-most' | 'remove-least',
  model: Model,
  input: ModelInput,
  heatmaps: Tensor,
  { percentile = 80, noise = 0.01, seed = 0, ...options }: RoadOptions,
): Promise<number[]> {
  if (percentile !== 'auto') {
    if (typeof percentile !== 'number')
      throw invalidArgumentType('percentile', "a number or 'auto'", percentile);
    if (!(percentile >= 0 && percentile <= 100))
      throw argumentOutOfRange('percentile', 'a number from 0 to 100', percentile);
  }
  if (!(noise >= 0 && Number.isFinite(noise)))
    throw argumentOutOfRange('noise', 'a number of at least 0', noise);
  return await scoreChange(model, input, heatmaps, options, {
    kind,
    percentile: percentile === 'auto' ? null : percentile,
    noise,
    seed,
  });
}

/**
 * ROAD, most relevant first: how much the score changes when the most relevant pixels are imputed from those around
 * them. Lower (more negative) is better. Y. Rong et al., "A Consistent and Efficient Evaluation Strategy for Attribution
 * Methods", 2022.
 * @param heatmaps - `[B, H, W]`, values 0 to 1
 * @returns after minus before, for each image
 */
export function roadMostRelevantFirst(
  model: Model,
  input: ModelInput,
  heatmaps: Tensor,
  options: RoadOptions = {},
): Promise<number[]> {
  return removal('remove-most', model, input, heatmaps, options);
}

/** ROAD, least relevant first: the same with what is least relevant removed. Higher is better. */
export function roadLeastRelevantFirst(
  model: Model,
  input: ModelInput,
  heatmaps: Tensor,
  options: RoadOptions = {},
): Promise<number[]> {
  return removal('remove-least', model, input, heatmaps, options);
}

const deciles = [10, 20, 30, 40, 50, 60, 70, 80, 90];

async function averaged(
  kind: 'remove-most' | 'remove-least',
  model: Model,
  input: ModelInput,
  heatmaps: Tensor,
  { percentiles = deciles, ...options }: RoadAverageOptions,
): Promise<number[]> {
  if (percentiles.length === 0) throw argumentOutOfRange('percentiles', 'at least one', 'an empty array');
  const sums: number[] = [];
  for (const percentile of percentiles) {
    const values = await removal(kind, model, input, heatmaps, { ...options, percentile });
    for (const [image, value] of values.entries()) sums[image] = (sums[image] ?? 0) + value;
  }
  return sums.map((sum) => sum / percentiles.length);
}

/** {@link roadMostRelevantFirst}, averaged over percentiles. */
export function roadMostRelevantFirstAverage(
  model: Model,
  input: ModelInput,
  heatmaps: Tensor,
  options: RoadAverageOptions = {},
): Promise<number[]> {
  return averaged('remove-most', model, input, heatmaps, options);
}

/** {@link roadLeastRelevantFirst}, averaged over percentiles. */
export function roadLeastRelevantFirstAverage(
  model: Model,
  input: ModelInput,
  heatmaps: Tensor,
  options: RoadAverageOptions = {},
): Promise<number[]> {
  return averaged('remove-least', model, input, heatmaps, options);
}

/** Half the difference of the two averages, least minus most relevant first. Higher is better. */
export async function roadCombined(
  model: Model,
  input: ModelInput,
  heatmaps: Tensor,
  options: RoadAverageOptions = {},
): Promise<number[]> {
  const most = await averaged('remove-most', model, input, heatmaps, options);
  const least = await averaged('remove-least', model, input, heatmaps, options);
  return least.map((value, image) => (value - (most[image] ?? 0)) / 2);
}
