import { callNativeAsync, type NativePerturbation } from '../addon/addon.js';
import { GradCamError, invalidArgumentType } from '../errors/errors.js';
import { checkSignal, readOptions } from '../errors/options.js';
import { checkArguments, type ModelArguments } from '../model/arguments.js';
import { checkModelMethod, Model, type ModelInput, nativeInputs } from '../model/model.js';
import type { OutputSelector } from '../model/output.js';
import { checkSelector } from '../model/output-selector.js';
import { withFunctionTargets } from '../targets/function-target.js';
import { normalizeTargets, type Targets } from '../targets/target.js';
import { Tensor } from '../tensor/tensor.js';

/** What every metric takes besides model, input and heatmaps. */
export interface MetricOptions {
  /** One target for each image, or one for all. Default: of each image the class that the model predicts. */
  readonly targets?: Targets;
  /** Which of the model's methods gives the scores. Default `'forward'`. */
  readonly modelMethod?: string;
  /** The parameters of the model's method that are no tensors, by name. Default: as `explain()`. */
  readonly arguments?: ModelArguments;
  /** The explained part of the model's output, for models that return several. */
  readonly output?: OutputSelector;
  readonly signal?: AbortSignal;
}

/**
 * The options of a metric, unknown names refused.
 * @param own - what it takes beside {@link MetricOptions}
 * @internal
 */
export function readMetricOptions<T extends MetricOptions>(
  metric: string,
  options: unknown,
  own: readonly (keyof T & string)[] = [],
): T {
  return readOptions<T>(`${metric} options`, options, [
    'targets',
    'modelMethod',
    'arguments',
    'output',
    'signal',
    ...own,
  ]);
}

/**
 * The values of heatmaps, `[B, ...space]` of floating point; those of float64 read alike.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`
 * @throws {GradCamError} `ERR_INPUT_SHAPE`
 * @internal
 */
export function checkHeatmaps(heatmaps: unknown, dimensions?: number): Float32Array {
  if (!(heatmaps instanceof Tensor)) throw invalidArgumentType('heatmaps', 'a Tensor', heatmaps);
  const { shape } = heatmaps;
  if (dimensions === undefined ? shape.length < 2 : shape.length !== dimensions)
    throw new GradCamError(
      'ERR_INPUT_SHAPE',
      `Expected heatmaps of the shape ${dimensions === 3 ? '[B, H, W]' : '[B, ...space]'}, but they have [${shape.join(', ')}].`,
    );
  const values = heatmaps.toTypedArray();
  if (values instanceof Float32Array || values instanceof Float64Array) return values as Float32Array;
  throw invalidArgumentType('heatmaps', 'floating-point values', heatmaps.dtype);
}

/** @internal */
const noPerturbation: NativePerturbation = {
  kind: 'none',
  percentile: null,
  noise: 0,
  seed: 0,
  pixelsPerStep: 1,
  baseline: 0,
};

/** @internal The targets' scores once the images were perturbed: `[B]`, of curves `[B][points]`. */
export async function perturbedScores(
  model: Model,
  input: ModelInput,
  heatmaps: Tensor,
  { targets, modelMethod, output, signal, ...given }: MetricOptions,
  perturbation: Partial<NativePerturbation>,
): Promise<{ scores: Float64Array; points: number }> {
  if (!(model instanceof Model)) throw invalidArgumentType('model', 'a Model from loadModel()', model);
  if (!(heatmaps instanceof Tensor)) throw invalidArgumentType('heatmaps', 'a Tensor', heatmaps);
  const request = {
    ...noPerturbation,
    ...perturbation,
    inputs: nativeInputs(input, checkArguments(given.arguments).given),
    heatmaps: Tensor.reference(heatmaps),
    modelMethod: checkModelMethod(modelMethod),
    output: [...checkSelector(output)],
    targets: normalizeTargets(targets),
  };
  const checkedSignal = checkSignal(signal);
  const native = await withFunctionTargets(request.targets, () =>
    callNativeAsync(checkedSignal, (module, cancellation) =>
      module.perturbedScores(Model.reference(model), request, cancellation),
    ),
  );
  using scores = Tensor.fromNative(native.scores);
  if (native.images) Tensor.fromNative(native.images).dispose();
  return { scores: scores.toTypedArray() as Float64Array, points: scores.shape[1] ?? 1 };
}

/**
 * For each perturbation, of each image how much the score changes: after minus before. The images as they are run once.
 * @internal
 */
export async function scoreChanges(
  model: Model,
  input: ModelInput,
  heatmaps: Tensor,
  options: MetricOptions,
  perturbations: readonly Partial<NativePerturbation>[],
): Promise<number[][]> {
  const before = await perturbedScores(model, input, heatmaps, options, {});
  const changes: number[][] = [];
  for (const perturbation of perturbations) {
    const after = await perturbedScores(model, input, heatmaps, options, perturbation);
    changes.push(Array.from(after.scores, (score, image) => score - (before.scores[image] ?? 0)));
  }
  return changes;
}
