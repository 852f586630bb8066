import { callNativeAsync } from '../addon/addon.js';
import { argumentOutOfRange, invalidArgumentType } from '../errors/errors.js';
import { checkSignal, readOptions } from '../errors/options.js';
import { checkArguments, type ModelArguments } from '../model/arguments.js';
import { checkModelMethod, Model, type ModelInput, nativeInputs } from '../model/model.js';
import { type ModelOutput, wrapOutput } from '../model/output.js';
import { checkReshapeTransform, type ReshapeTransform } from '../model/reshape-transform.js';
import { checkTargetLayers, type TargetLayer } from '../model/target-layers.js';
import { Tensor, type TensorLike } from '../tensor/tensor.js';

export interface DeepFeatureFactorizationOptions {
  readonly model: Model;
  /** One layer, at one call: `call: 'all'` is refused, for what several calls give has no maps in common. */
  readonly targetLayer: TargetLayer;
  /** Which of the model's methods runs. Default `'forward'`. */
  readonly modelMethod?: string;
  readonly reshapeTransform?: ReshapeTransform;
  /** Path of a linear layer that names the concepts, such as `'fc'`. Default: none. */
  readonly computationOnConcepts?: string;
  readonly optimize?: boolean;
}

export interface FactorizeOptions {
  /** The parameters of the model's method that are no tensors, by name. Default: as `explain()`. */
  readonly arguments?: ModelArguments;
  /** How many concepts. Default 8. */
  readonly components?: number;
  /** Equal seeds give equal concepts. Default 0. */
  readonly seed?: number;
  /** Where the descent starts instead of at random: `[C, components]` and `[components, B * places]`. */
  readonly start?: { readonly concepts: TensorLike; readonly explanations: TensorLike };
  /** Called with the rounds done, and the most there can be. */
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** What a layer's activations are made of. */
export interface FactorizedFeatures {
  /** float32 `[C, components]`: each concept as a vector of channels. */
  readonly concepts: Tensor;
  /** float32 `[B, components, H, W]`: where each concept is, each map 0 to 1. */
  readonly explanations: Tensor;
  /** float32 `[components, classes]`: what the linear layer makes of each concept; null without one. */
  readonly conceptOutputs: Tensor | null;
  readonly outputs: ModelOutput;
  /** Rounds of the descent, at most 200. */
  readonly rounds: number;
}

/**
 * Deep Feature Factorization: a layer's activations of all images as a product of few concepts and where they are, found
 * without any class. Non-negative matrix factorization by coordinate descent, as scikit-learn's. E. Collins et al., 2018.
 */
export class DeepFeatureFactorization {
  readonly #options: DeepFeatureFactorizationOptions;

  /**
   * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_UNKNOWN_OPTION`, `ERR_OUT_OF_RANGE`
   * @throws {GradCamError} `ERR_UNKNOWN_LAYER`
   */
  constructor(options: DeepFeatureFactorizationOptions) {
    const given = readOptions<DeepFeatureFactorizationOptions>('DeepFeatureFactorization options', options, [
      'model',
      'targetLayer',
      'modelMethod',
      'reshapeTransform',
      'computationOnConcepts',
      'optimize',
    ]);
    if (!(given.model instanceof Model))
      throw invalidArgumentType('model', 'a Model from loadModel()', given.model);
    const [layer] = checkTargetLayers(given.targetLayer, given.model);
    if (layer?.call === 'all')
      throw argumentOutOfRange('targetLayer.call', "one call, 'last' or an index,", layer.call);
    checkModelMethod(given.modelMethod);
    checkReshapeTransform(given.reshapeTransform);
    if (given.computationOnConcepts !== undefined && typeof given.computationOnConcepts !== 'string')
      throw invalidArgumentType(
        'computationOnConcepts',
        "a linear layer's path",
        given.computationOnConcepts,
      );
    this.#options = given;
  }

  /**
   * Factorizes the layer's activations of a batch.
   * @throws {RangeError} `ERR_OUT_OF_RANGE`
   * @throws {GradCamError} `ERR_LAYER_OUTPUT`, `ERR_UNKNOWN_LAYER`, `ERR_INPUT_SHAPE`, and as a forward
   */
  async factorize(input: ModelInput, options?: FactorizeOptions): Promise<FactorizedFeatures> {
    const given = readOptions<FactorizeOptions>('factorize options', options, [
      'arguments',
      'components',
      'seed',
      'start',
      'onProgress',
      'signal',
    ]);
    const { components = 8, seed = 0, start } = given;
    if (!Number.isInteger(components) || components < 1 || components > 4096)
      throw argumentOutOfRange('components', 'an integer from 1 to 4096', components);
    if (!Number.isSafeInteger(seed) || seed < 0)
      throw argumentOutOfRange('seed', 'an integer of at least 0', seed);
    const { model, targetLayer, modelMethod, reshapeTransform } = this.#options;
    const { computationOnConcepts, optimize = true } = this.#options;
    const request = {
      inputs: nativeInputs(input, checkArguments(given.arguments).given),
      layers: checkTargetLayers(targetLayer, model),
      modelMethod: checkModelMethod(modelMethod),
      reshape: checkReshapeTransform(reshapeTransform),
      components,
      seed,
      ...(start
        ? {
            startConcepts: Tensor.reference(Tensor.fromLike(start.concepts, 'start.concepts')),
            startExplanations: Tensor.reference(Tensor.fromLike(start.explanations, 'start.explanations')),
          }
        : {}),
      linear: computationOnConcepts ?? '',
      optimize,
    };
    const native = await callNativeAsync(checkSignal(given.signal), (module, cancellation) =>
      module.factorize(Model.reference(model), request, cancellation, given.onProgress),
    );
    return {
      concepts: Tensor.fromNative(native.concepts),
      explanations: Tensor.fromNative(native.explanations),
      conceptOutputs: native.conceptOutputs ? Tensor.fromNative(native.conceptOutputs) : null,
      outputs: wrapOutput(native.outputs),
      rounds: native.rounds,
    };
  }
}
