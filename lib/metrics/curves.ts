import { argumentOutOfRange, invalidArgumentType } from '../errors/errors.js';
import type { Model, ModelInput } from '../model/model.js';
import { elementCount } from '../tensor/element-count.js';
import { Tensor } from '../tensor/tensor.js';
import { type MetricOptions, perturbedScores, readMetricOptions } from './perturbed-scores.js';

export interface CurveOptions extends MetricOptions {
  /** Pixels changed in one step. Default: a hundredth of the image. */
  readonly pixelsPerStep?: number;
  /** The value of deleted pixels. Default 0, the mean of images normalised as usual. */
  readonly baseline?: number;
}

async function areaUnderCurve(
  kind: 'deletion' | 'insertion',
  model: Model,
  input: ModelInput,
  heatmaps: Tensor,
  given: CurveOptions,
): Promise<number[]> {
  const {
    pixelsPerStep,
    baseline = 0,
    ...options
  } = readMetricOptions<CurveOptions>(`${kind}Auc`, given, ['pixelsPerStep', 'baseline']);
  if (!(heatmaps instanceof Tensor)) throw invalidArgumentType('heatmaps', 'a Tensor', heatmaps);
  const pixels = elementCount(heatmaps.shape.slice(1));
  const step = pixelsPerStep ?? Math.max(1, Math.ceil(pixels / 100));
  if (!Number.isInteger(step) || step < 1)
    throw argumentOutOfRange('pixelsPerStep', 'an integer of at least 1', step);
  if (!Number.isFinite(baseline)) throw argumentOutOfRange('baseline', 'a finite number', baseline);
  const { scores, points } = await perturbedScores(model, input, heatmaps, options, {
    kind,
    pixelsPerStep: step,
    baseline,
  });
  return Array.from({ length: scores.length / points }, (_, image) => {
    const curve = scores.subarray(image * points, (image + 1) * points);
    let area = 0;
    for (let point = 1; point < points; point++) {
      const width = (Math.min(point * step, pixels) - (point - 1) * step) / pixels;
      area += (((curve[point] ?? 0) + (curve[point - 1] ?? 0)) / 2) * width;
    }
    return area;
  });
}

/**
 * The area under the score while the most relevant pixels are deleted, one step after the other. Lower is better.
 * V. Petsiuk et al., "RISE", 2018.
 */
export function deletionAuc(
  model: Model,
  input: ModelInput,
  heatmaps: Tensor,
  options: CurveOptions = {},
): Promise<number[]> {
  return areaUnderCurve('deletion', model, input, heatmaps, options);
}

/** The area under the score while the most relevant pixels are inserted into the baseline. Higher is better. */
export function insertionAuc(
  model: Model,
  input: ModelInput,
  heatmaps: Tensor,
  options: CurveOptions = {},
): Promise<number[]> {
  return areaUnderCurve('insertion', model, input, heatmaps, options);
}
