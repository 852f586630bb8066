import type { Model, ModelInput } from '../model/model.js';
import type { Tensor } from '../tensor/tensor.js';
import { type MetricOptions, readMetricOptions, scoreChanges } from './perturbed-scores.js';

/**
 * How much the score changes when each image is multiplied by its heatmap: after minus before. A good map keeps what the
 * model needs, so that the score stays or rises. Use a probability as target, such as `ClassifierOutputSoftmaxTarget`.
 * @param heatmaps - `[B, H, W]`, values 0 to 1
 * @returns one value for each image
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_UNKNOWN_OPTION`
 * @throws {GradCamError} as `explain()`, and `ERR_INPUT_SHAPE` where heatmaps and images do not fit
 */
export function confidenceChange(
  model: Model,
  input: ModelInput,
  heatmaps: Tensor,
  options: MetricOptions = {},
): Promise<number[]> {
  return changeOf('confidenceChange', model, input, heatmaps, options);
}

async function changeOf(
  metric: string,
  ...[model, input, heatmaps, options]: Parameters<typeof confidenceChange>
): Promise<number[]> {
  const given = readMetricOptions(metric, options);
  const [changes = []] = await scoreChanges(model, input, heatmaps, given, [{ kind: 'multiply' }]);
  return changes;
}

/** How much of the score is lost, at least 0. Lower is better. A. Chattopadhay et al. 2018, "average drop". */
export async function dropInConfidence(...args: Parameters<typeof confidenceChange>): Promise<number[]> {
  return (await changeOf('dropInConfidence', ...args)).map((change) => Math.max(0, -change));
}

/** 1 where the score rises, else 0. Higher is better. A. Chattopadhay et al. 2018, "increase in confidence". */
export async function increaseInConfidence(...args: Parameters<typeof confidenceChange>): Promise<number[]> {
  return (await changeOf('increaseInConfidence', ...args)).map((change) => (change > 0 ? 1 : 0));
}
