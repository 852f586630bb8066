import { callNativeAsync, type NativePerturbation } from '../addon/addon.js';
import { invalidArgumentType } from '../errors/errors.js';
import { checkSignal } from '../errors/options.js';
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

/** @internal Of each image how much the score changes as it is perturbed: after minus before. */
export async function scoreChange(
  model: Model,
  input: ModelInput,
  heatmaps: Tensor,
  options: MetricOptions,
  perturbation: Partial<NativePerturbation>,
): Promise<number[]> {
  const before = await perturbedScores(model, input, heatmaps, options, {});
  const after = await perturbedScores(model, input, heatmaps, options, perturbation);
  return Array.from(after.scores, (score, image) => score - (before.scores[image] ?? 0));
}
