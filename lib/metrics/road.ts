import { argumentOutOfRange, invalidArgumentType } from '../errors/errors.js';
import type { Model, ModelInput } from '../model/model.js';
import type { Tensor } from '../tensor/tensor.js';
import { type MetricOptions, readMetricOptions, scoreChanges } from './perturbed-scores.js';

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

type Kind = 'remove-most' | 'remove-least';
const kinds = {
  most: ['remove-most'],
  least: ['remove-least'],
  both: ['remove-most', 'remove-least'],
} as const;

/** For each kind and, within it, each percentile, of each image how much the score changes. */
async function removals(
  [model, input, heatmaps]: readonly [Model, ModelInput, Tensor],
  removed: readonly Kind[],
  percentiles: readonly (number | 'auto')[],
  { noise = 0.01, seed = 0, ...options }: Omit<RoadOptions, 'percentile'>,
): Promise<number[][]> {
  for (const percentile of percentiles) {
    if (percentile === 'auto') continue;
    if (typeof percentile !== 'number')
      throw invalidArgumentType('percentile', "a number or 'auto'", percentile);
    if (!(percentile >= 0 && percentile <= 100))
      throw argumentOutOfRange('percentile', 'a number from 0 to 100', percentile);
  }
  if (!(noise >= 0 && Number.isFinite(noise)))
    throw argumentOutOfRange('noise', 'a number of at least 0', noise);
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw argumentOutOfRange('seed', 'an integer of at least 0', seed);
  const perturbations = removed.flatMap((kind) =>
    percentiles.map((each) => ({ kind, percentile: each === 'auto' ? null : each, noise, seed })),
  );
  return await scoreChanges(model, input, heatmaps, options, perturbations);
}

async function removal(
  metric: string,
  of: readonly [Model, ModelInput, Tensor],
  removed: readonly Kind[],
  options: RoadOptions,
): Promise<number[]> {
  const { percentile = 80, ...given } = readMetricOptions<RoadOptions>(metric, options, [
    'percentile',
    'noise',
    'seed',
  ]);
  const [changes = []] = await removals(of, removed, [percentile], given);
  return changes;
}

/**
 * ROAD, most relevant first: how much the score changes when the most relevant pixels are imputed from those around
 * them. Lower (more negative) is better. Y. Rong et al., "A Consistent and Efficient Evaluation Strategy for Attribution
 * Methods", 2022.
 * @param heatmaps - `[B, H, W]`, values 0 to 1
 * @returns after minus before, for each image
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
 * @throws {GradCamError} as `explain()`, and `ERR_INPUT_SHAPE` where heatmaps and images do not fit
 */
export function roadMostRelevantFirst(
  model: Model,
  input: ModelInput,
  heatmaps: Tensor,
  options: RoadOptions = {},
): Promise<number[]> {
  return removal('roadMostRelevantFirst', [model, input, heatmaps], kinds.most, options);
}

/** ROAD, least relevant first: the same with what is least relevant removed. Higher is better. */
export function roadLeastRelevantFirst(
  model: Model,
  input: ModelInput,
  heatmaps: Tensor,
  options: RoadOptions = {},
): Promise<number[]> {
  return removal('roadLeastRelevantFirst', [model, input, heatmaps], kinds.least, options);
}

const deciles = [10, 20, 30, 40, 50, 60, 70, 80, 90];

/** For each kind, of each image the mean over the percentiles. */
async function averages(
  metric: string,
  of: readonly [Model, ModelInput, Tensor],
  removed: readonly Kind[],
  options: RoadAverageOptions,
): Promise<number[][]> {
  const { percentiles = deciles, ...given } = readMetricOptions<RoadAverageOptions>(metric, options, [
    'percentiles',
    'noise',
    'seed',
  ]);
  if (!Array.isArray(percentiles))
    throw invalidArgumentType('percentiles', 'an array of numbers', percentiles);
  if (percentiles.length === 0) throw argumentOutOfRange('percentiles', 'at least one', 'an empty array');
  const changes = await removals(of, removed, percentiles, given);
  return removed.map((_, kind) => {
    const ofKind = changes.slice(kind * percentiles.length, (kind + 1) * percentiles.length);
    const sums = (ofKind[0] ?? []).map((_, image) =>
      ofKind.reduce((sum, values) => sum + (values[image] ?? 0), 0),
    );
    return sums.map((sum) => sum / percentiles.length);
  });
}

/** {@link roadMostRelevantFirst}, averaged over percentiles. */
export async function roadMostRelevantFirstAverage(
  model: Model,
  input: ModelInput,
  heatmaps: Tensor,
  options: RoadAverageOptions = {},
): Promise<number[]> {
  const of = [model, input, heatmaps] as const;
  const [most = []] = await averages('roadMostRelevantFirstAverage', of, kinds.most, options);
  return most;
}

/** {@link roadLeastRelevantFirst}, averaged over percentiles. */
export async function roadLeastRelevantFirstAverage(
  model: Model,
  input: ModelInput,
  heatmaps: Tensor,
  options: RoadAverageOptions = {},
): Promise<number[]> {
  const of = [model, input, heatmaps] as const;
  const [least = []] = await averages('roadLeastRelevantFirstAverage', of, kinds.least, options);
  return least;
}

/** Half the difference of the two averages, least minus most relevant first. Higher is better. */
export async function roadCombined(
  model: Model,
  input: ModelInput,
  heatmaps: Tensor,
  options: RoadAverageOptions = {},
): Promise<number[]> {
  const of = [model, input, heatmaps] as const;
  const [most = [], least = []] = await averages('roadCombined', of, kinds.both, options);
  return least.map((value, image) => (value - (most[image] ?? 0)) / 2);
}
