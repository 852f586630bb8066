import { callNativeAsync, type NativeAttribution, type NativeAttributionRequest } from '../addon/addon.js';
import { GradCamError, invalidArgumentType } from '../errors/errors.js';
import { checkSignal, readOptions } from '../errors/options.js';
import { checkArguments, type ModelArguments } from '../model/arguments.js';
import { checkModelMethod, Model, type ModelInput, nativeInputs } from '../model/model.js';
import { disposeOutput, type ModelOutput, type OutputSelector, wrapOutput } from '../model/output.js';
import { checkSelector } from '../model/output-selector.js';
import { withFunctionTargets } from '../targets/function-target.js';
import { normalizeTargets, type Targets } from '../targets/target.js';
import { Tensor } from '../tensor/tensor.js';

/** One attribution: what it belongs to and what was explained. */
export interface AttributedMap {
  readonly imageIndex: number;
  readonly targetIndex: number;
  /** The explained class; null for a target that is not a class. */
  readonly classIndex: number | null;
  /** The value of the target. */
  readonly score: number;
  /**
   * Of integrated gradients how far the attributions' sum is from the difference of the scores at input and baseline: 0
   * for exact integration, more with too few steps.
   */
  readonly convergenceDelta: number;
}

/** What of the input speaks for a target. Its tensors are freed with `dispose()` (or `using`). */
export class Attribution {
  /** float32 `[N, C, H, W]`, signed: one of the input's shape for each image and target, by image, then by target. */
  readonly attributions: Tensor;
  /** The model's own output from the same forward. */
  readonly outputs: ModelOutput;
  readonly maps: readonly AttributedMap[];

  /** @internal */
  constructor(native: NativeAttribution) {
    this.attributions = Tensor.fromNative(native.attributions);
    this.outputs = wrapOutput(native.outputs);
    this.maps = native.maps;
  }

  /** The value of the target of each attribution. */
  get scores(): number[] {
    return this.maps.map(({ score }) => score);
  }

  dispose(): void {
    this.attributions.dispose();
    disposeOutput(this.outputs);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

export interface AttributionOptions {
  readonly model: Model;
  /** Which of the model's methods is explained. Default `'forward'`. */
  readonly modelMethod?: string;
  /** The part of the model's output that is explained, for models that return several. */
  readonly output?: OutputSelector;
}

export interface AttributeOptions {
  /** Default: of each image the class that the model predicts. */
  readonly targets?: Targets;
  /** The parameters of the model's method that are no tensors, by name. Default: as `explain()`. */
  readonly arguments?: ModelArguments;
  /** Called as runs of the model are done, in images. */
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** What methods that explain by the input itself share. They need no target layer. */
export abstract class InputAttribution {
  readonly #model: Model;
  readonly #modelMethod: string;
  readonly #output: readonly (string | number)[];

  /** @internal */
  protected abstract readonly request: Omit<
    NativeAttributionRequest,
    'inputs' | 'modelMethod' | 'output' | 'targets'
  >;

  /** @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_UNKNOWN_OPTION` */
  constructor(options: AttributionOptions) {
    const { model, modelMethod, output } = readOptions<AttributionOptions>(
      `${new.target.name} options`,
      options,
      ['model', 'modelMethod', 'output'],
    );
    if (!(model instanceof Model)) throw invalidArgumentType('model', 'a Model from loadModel()', model);
    this.#model = model;
    this.#modelMethod = checkModelMethod(modelMethod);
    this.#output = checkSelector(output);
  }

  /**
   * Explains a batch on the library's own threads.
   * @param input - `[B, C, H, W]` (or signals, volumes), floating-point; for several inputs an array, of which the first
   *   is explained
   * @throws {GradCamError} as `explain()` of the CAM methods does, but for what concerns layers
   */
  async attribute(input: ModelInput, options?: AttributeOptions): Promise<Attribution> {
    const given = readOptions<AttributeOptions>('attribute options', options, [
      'targets',
      'arguments',
      'onProgress',
      'signal',
    ]);
    const { onProgress } = given;
    if (onProgress !== undefined && typeof onProgress !== 'function')
      throw invalidArgumentType('onProgress', 'a function', onProgress);
    const targets = normalizeTargets(given.targets);
    const inputs = nativeInputs(input, checkArguments(given.arguments).given);
    if (this.#model.disposed) throw new GradCamError('ERR_DISPOSED', 'The model was disposed.');
    const request = {
      ...this.request,
      inputs,
      modelMethod: this.#modelMethod,
      output: [...this.#output],
      targets,
    };
    const signal = checkSignal(given.signal);
    const native = await withFunctionTargets(targets, () =>
      callNativeAsync(signal, (module, cancellation) =>
        module.attribute(Model.reference(this.#model), request, cancellation, onProgress),
      ),
    );
    return new Attribution(native);
  }
}
