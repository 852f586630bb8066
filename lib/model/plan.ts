import { callNativeAsync } from '../addon/addon.js';
import { invalidArgumentType } from '../errors/errors.js';
import { checkSignal, readOptions } from '../errors/options.js';
import { checkModelMethod, Model, type RunOptions } from './model.js';
import { checkTargetLayers, type TargetLayer } from './target-layers.js';

/** How an explain at certain layers runs the model. Nodes are operations of the model's graph, without constants. */
export interface PlanDescription {
  /** Before the first target layer: runs without gradients, frozen and fused. No nodes where there is no such part. */
  readonly prefix: { readonly nodes: number; readonly graph: string };
  /** From the first target layer on: recorded by autograd, on a CPU fused as well where no second derivative is wanted. */
  readonly tail: { readonly nodes: number; readonly graph: string };
  /** Values handed from the prefix to the tail. */
  readonly crossingValues: number;
  /** In what is computed where no gradient is needed; see `precision` of {@link LoadModelOptions}. */
  readonly precision: 'float32' | 'bfloat16';
  /** BatchNorm layers folded into the convolution before them. */
  readonly foldedBatchNorms: number;
  /** Convolutions and linear layers, in both parts, that run as one oneDNN primitive each, */
  readonly fusedConvolutions: number;
  readonly fusedLinears: number;
  /** and the additions, factors and activations inside of them. */
  readonly fusedOperations: number;
  /** BatchNorms behind no convolution that run as one operation, with the concatenation before and the ReLU behind them. */
  readonly fusedBatchNorms: number;
}

/**
 * Describes how explains at these layers run the model, for debugging. The graphs are LibTorch's own print.
 * @throws {GradCamError} `ERR_UNKNOWN_LAYER`, `ERR_LAYER_NOT_CALLED`, `ERR_LAYER_OUTPUT`, `ERR_MODEL_FROZEN`,
 *   `ERR_NO_FORWARD`, `ERR_DISPOSED`
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
 */
export async function describePlan(
  model: Model,
  targetLayers: TargetLayer | readonly TargetLayer[],
  options?: Omit<RunOptions, 'arguments'> & { readonly optimize?: boolean },
): Promise<PlanDescription> {
  if (!(model instanceof Model)) throw invalidArgumentType('model', 'a Model from loadModel()', model);
  const given = readOptions<RunOptions & { optimize?: boolean }>('describePlan options', options, [
    'modelMethod',
    'optimize',
    'signal',
  ]);
  const modelMethod = checkModelMethod(given.modelMethod);
  const optimize = given.optimize ?? true;
  if (typeof optimize !== 'boolean') throw invalidArgumentType('optimize', 'true or false', optimize);
  const layers = checkTargetLayers(targetLayers, model);
  return await callNativeAsync(checkSignal(given.signal), (module, cancellation) =>
    module.describePlan(Model.reference(model), { layers, modelMethod, optimize }, cancellation),
  );
}
