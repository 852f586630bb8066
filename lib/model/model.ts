import type { StageTimings } from '../addon/addon.js';
import {
  callNative,
  callNativeAsync,
  type DType,
  type ModelReference,
  type NativeInputs,
  type NativeModel,
} from '../addon/addon.js';
import { GradCamError, invalidArgumentType } from '../errors/errors.js';
import { checkBoolean, checkSignal, readOptions } from '../errors/options.js';
import { Tensor, type TensorLike } from '../tensor/tensor.js';
import { checkArguments, type ModelArguments } from './arguments.js';
import type {
  Inspection,
  Layer,
  ModelStatistics,
  ModelWarning,
  SuggestedLayer,
  Weight,
} from './descriptions.js';
import { type ModelOutput, wrapOutput } from './output.js';
import { checkTargetLayers, type TargetLayer } from './target-layers.js';

export type {
  InspectedLayer,
  Inspection,
  Layer,
  ModelStatistics,
  ModelWarning,
  SuggestedLayer,
  Weight,
} from './descriptions.js';

/** How one of a model's methods runs. */
export interface RunOptions {
  /** Which of {@link Model.methods}. Default `'forward'`. */
  readonly modelMethod?: string;
  /** The method's parameters that are no tensors, by name: `{ sr: 16000 }`. Default: those of the model, then its own. */
  readonly arguments?: ModelArguments;
  readonly signal?: AbortSignal;
}

/** One input or, for a model that takes several tensors, all of them, in the order of its parameters. */
export type ModelInput = TensorLike | readonly TensorLike[];

/** What a model is made ready for. */
export interface WarmUpOptions extends RunOptions {
  /** Inputs as the calls to come will have: as many images, of the same size. What they hold does not matter. */
  readonly inputs?: ModelInput;
  /** Instead of `inputs`, for a model with one input: its shape, `[B, C, H, W]`. It is run on zeros. */
  readonly shape?: readonly number[];
  /** The layers that will be explained. Omitted: `forward` is made ready, and no explain. */
  readonly targetLayers?: TargetLayer | readonly TargetLayer[];
  /** As for the explains to come. Default true. */
  readonly optimize?: boolean;
}

const keptInspections = 16; // as many as plans: images of any size may come

/**
 * A loaded model. It can be shared by any number of explainers and concurrent calls. It is never changed: hooks are put
 * into copies of its graphs.
 */
export class Model {
  readonly #reference: ModelReference;
  readonly #layers: readonly Layer[];
  /** By method, the shape of the input and arguments; the least recently used comes first. */
  readonly #inspections = new Map<string, Promise<Inspection>>();
  readonly #timings = { queue: 0, plan: 0, forward: 0, backward: 0, cam: 0 };
  #disposed = false;

  /** The file it was loaded from. */
  readonly path: string;
  /** `'cpu'` or `'cuda:N'`. */
  readonly device: string;
  /** Floating-point type of the weights; null where the model has none. Inputs are cast to it. */
  readonly dtype: DType | null;
  readonly parameterCount: number;
  /** Bytes of parameters and buffers. */
  readonly byteLength: number;
  /** `'exported'` of a program of torch.export (.pt2), `'torchscript'` of a file of TorchScript. */
  readonly format: 'exported' | 'torchscript';
  /**
   * Images that an exported program was made for, where its first input has a fixed number of them; else null. Some such programs
   * take other numbers too; where one does not, the error says so.
   */
  readonly exportedBatch: number | null;
  /** True where the file was frozen before saving: its layers have no names any more. */
  readonly frozen: boolean;
  /** What can be run and explained: `['forward']`, of CLIP `'encode_image'` and `'encode_text'` too. */
  readonly methods: readonly string[];
  /** Of each method, what it takes: `{ forward: 'forward(x: Tensor, sr: int = 16000)' }`. */
  readonly signatures: Readonly<Record<string, string>>;
  /** Parameters, then buffers. */
  readonly weights: readonly Weight[];
  /**
   * True where forward takes a list of images, `[C, H, W]` each, as torchvision's detectors do. Give it an array of
   * images, or a batch `[B, C, H, W]`.
   */
  readonly takesImageList: boolean;

  /** @internal Use {@link loadModel}. */
  constructor(path: string, native: NativeModel) {
    this.#reference = native.reference;
    this.#layers = Object.freeze(native.layers.map((layer) => Object.freeze(layer)));
    this.path = path;
    this.device = native.device;
    this.dtype = native.dtype;
    this.parameterCount = native.parameterCount;
    this.byteLength = native.byteLength;
    this.format = native.exported ? 'exported' : 'torchscript';
    this.exportedBatch = native.exportedBatch;
    this.frozen = native.frozen;
    this.methods = Object.freeze(native.methods);
    this.signatures = Object.freeze(
      Object.fromEntries(native.methods.map((method, index) => [method, native.signatures[index] ?? ''])),
    );
    this.weights = Object.freeze(native.weights.map((weight) => Object.freeze(weight)));
    this.takesImageList = native.takesImageList;
  }

  /** @internal */
  static reference(model: Model): ModelReference {
    return model.#reference;
  }

  /** @internal Adds the stages of one batch to the model's statistics. */
  static addTimings(model: Model, timings: StageTimings): void {
    for (const stage of Object.keys(model.#timings) as (keyof StageTimings)[])
      model.#timings[stage] += timings[stage];
  }

  /**
   * What must be known about this model, such as that it holds operations in training mode; usually empty. Some of it
   * comes out as the model runs: that it takes one image only, by the first batch that fails for it.
   */
  get warnings(): readonly ModelWarning[] {
    const warnings = callNative((module) => module.modelWarnings(this.#reference));
    return Object.freeze(warnings.map((warning) => Object.freeze(warning)));
  }

  /** @internal Whether images of several calls must not share a batch. */
  static runsImagesAlone(model: Model, modelMethod: string): boolean {
    return model.warnings.some(
      ({ modelMethod: method, code }) =>
        method === modelMethod && (code === 'mixes-images' || code === 'one-image'),
    );
  }

  /** @internal How many images an exported program takes at a time, where it takes no other number; else null. */
  static exactBatch(model: Model): number | null {
    const batch = model.exportedBatch;
    return batch !== null && model.warnings.some(({ code }) => code === 'exact-batch') ? batch : null;
  }

  /** True from the call of {@link dispose} on. */
  get disposed(): boolean {
    return this.#disposed;
  }

  /**
   * All layers in the order of the module tree, parents first.
   * @throws {GradCamError} `ERR_DISPOSED`
   */
  layers(): readonly Layer[] {
    this.#checkNotDisposed();
    return this.#layers;
  }

  /**
   * A copy of a parameter or buffer, on the CPU; null where there is none of that name.
   * @param name - one of {@link weights}
   * @throws {GradCamError} `ERR_DISPOSED`
   */
  weight(name: string): Tensor | null {
    if (typeof name !== 'string') throw invalidArgumentType('name', 'a string', name);
    const native = callNative((module) => module.modelWeight(this.#reference, name));
    return native && Tensor.fromNative(native);
  }

  /**
   * Runs forward once on `input` and reports, for each layer, how often it was called and the shapes it gave, and which
   * layer is suggested for explanations.
   * @throws {GradCamError} as {@link forward}
   */
  async inspect(input: ModelInput, options?: RunOptions): Promise<Inspection> {
    this.#checkNotDisposed();
    const { modelMethod, signal, ...given } = readRunOptions('inspect options', options);
    const inputs = nativeInputs(input, given.arguments);
    const { layers, suggestion } = await callNativeAsync(signal, (module, cancellation) =>
      module.inspect(this.#reference, inputs, cancellation, modelMethod),
    );
    const { path, reason, reshape } = suggestion;
    const found = path !== '';
    return {
      layers,
      suggested: found ? { path, reason, reshapeTransform: reshape } : null,
      suggestionFailure: found ? null : reason,
    };
  }

  /**
   * The model's own output for `input`, without gradients: of `forward`, or of another of its methods.
   * Each call starts from the model as it was loaded: attributes that forward writes, such as the state of an LSTM, are
   * those of the file.
   * @param input - a batch such as `[B, C, H, W]`, or an array with one tensor for each parameter that takes one
   * @throws {GradCamError} `ERR_FORWARD`, `ERR_MODEL_ARGUMENTS`, `ERR_INPUT_SHAPE`, `ERR_INPUT_DTYPE`, `ERR_INPUT_NOT_FINITE`,
   *   `ERR_NO_FORWARD`, `ERR_DISPOSED`
   */
  async forward(input: ModelInput, options?: RunOptions): Promise<ModelOutput> {
    this.#checkNotDisposed();
    const { modelMethod, signal, ...given } = readRunOptions('forward options', options);
    const inputs = nativeInputs(input, given.arguments);
    const output = await callNativeAsync(signal, (module, cancellation) =>
      module.forward(this.#reference, inputs, cancellation, modelMethod),
    );
    return wrapOutput(output);
  }

  /**
   * {@link forward} of a batch in parts: of each of the model's inputs the tensors that, one behind the other, make it.
   * @internal
   */
  static async forwardParts(
    model: Model,
    inputs: readonly (readonly Tensor[])[],
    given: ModelArguments,
    signal: AbortSignal,
  ): Promise<ModelOutput> {
    model.#checkNotDisposed();
    const tensors = inputs.map((parts) => parts.map(Tensor.reference));
    const output = await callNativeAsync(signal, (module, cancellation) =>
      module.forward(model.#reference, { tensors, arguments: given }, cancellation, 'forward'),
    );
    return wrapOutput(output);
  }

  /**
   * Makes the first call with inputs of a shape as fast as those after it: builds the plan for the target layers, puts the
   * weights into the order that fits the shape, and has the kernels compiled, those of the walk back too. It takes about as
   * long as the first two calls. Call it again for each further batch size, image size and choice of layers, and after
   * `setThreads()`; all calls of the process profit. An explain without target layers uses those of {@link suggestLayer}.
   * The plan is that of methods that take first derivatives, as most do; others (EigenCAM, ScoreCAM, ShapleyCAM) find the
   * weights and kernels, and build a plan of their own on their first call.
   * @throws {GradCamError} as {@link forward}, and `ERR_UNKNOWN_LAYER`, `ERR_LAYER_NOT_CALLED`, `ERR_LAYER_OUTPUT`,
   *   `ERR_MODEL_FROZEN`, `ERR_OUT_OF_MEMORY`
   * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
   * @example await model.warmUp({ shape: [8, 3, 224, 224], targetLayers: 'layer4' })
   */
  async warmUp(options: WarmUpOptions): Promise<void> {
    this.#checkNotDisposed();
    const given = readOptions<WarmUpOptions>('warmUp options', options, [
      'inputs',
      'shape',
      'targetLayers',
      'modelMethod',
      'arguments',
      'optimize',
      'signal',
    ]);
    const { inputs, shape, targetLayers } = given;
    if ((inputs === undefined) === (shape === undefined))
      throw invalidArgumentType('warmUp options', 'an object with either inputs or shape', options);
    const layers = targetLayers === undefined ? [] : checkTargetLayers(targetLayers, this);
    const modelMethod = checkModelMethod(given.modelMethod);
    const optimize = checkBoolean('optimize', given.optimize, true);
    const signal = checkSignal(given.signal);
    const modelArguments = checkArguments(given.arguments).given;
    using zeros = shape === undefined ? undefined : Tensor.zeros(shape);
    const request = {
      inputs: nativeInputs(zeros ?? (inputs as ModelInput), modelArguments),
      layers,
      modelMethod,
      optimize,
    };
    await callNativeAsync(signal, (module, cancellation) =>
      module.warmUp(this.#reference, request, cancellation),
    );
  }

  /**
   * The layer to explain when none is named: the last one that still has a spatial map, and of a transformer the one
   * before the last attention, with the reshape transform that it needs. Found by one forward for each shape of input and
   * its arguments; the 16 used last are remembered.
   * @throws {GradCamError} `ERR_NO_LAYER_SUGGESTION`, and as {@link forward}
   */
  async suggestLayer(
    input: ModelInput,
    options?: Pick<RunOptions, 'modelMethod' | 'arguments'>,
  ): Promise<SuggestedLayer> {
    const modelMethod = checkModelMethod(options?.modelMethod);
    const given = checkArguments(options?.arguments);
    const tensors = toTensors(input);
    const shapes = tensors.map((tensor) => tensor.shape.slice(1).join('x'));
    const key = [modelMethod, ...shapes, given.key].join(',');
    let inspection = this.#inspections.get(key);
    if (inspection === undefined) {
      inspection = this.inspect(tensors, { modelMethod, arguments: given.given });
      inspection.catch(() => this.#inspections.delete(key));
    }
    this.#inspections.delete(key);
    this.#inspections.set(key, inspection);
    const [oldest] = this.#inspections.keys();
    if (this.#inspections.size > keptInspections && oldest !== undefined) this.#inspections.delete(oldest);
    const { suggested, suggestionFailure } = await inspection;
    if (suggested) return suggested;
    throw new GradCamError(
      'ERR_NO_LAYER_SUGGESTION',
      `No target layer was named, and none can be suggested: ${suggestionFailure}.`,
    );
  }

  /** What was done with this model since it was loaded, and what it holds now. Cheap, and works after dispose too. */
  stats(): ModelStatistics {
    const { plans, packedBytes, ...jobs } = callNative((module) => module.modelStatistics(this.#reference));
    const { tensorBytes, cachedBytes, devices } = callNative((module) => module.memory());
    const weightBytes = this.#disposed ? 0 : this.byteLength;
    return {
      jobs,
      plans,
      timings: { ...this.#timings },
      memory: { weightBytes, packedBytes, tensorBytes, cachedBytes, devices },
    };
  }

  /**
   * Refuses new work at once, and frees the memory when the last running job has ended; that is when the promise
   * resolves. Calling it again is fine.
   */
  async dispose(): Promise<void> {
    this.#disposed = true;
    await callNative((module) => module.disposeModel(this.#reference));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  #checkNotDisposed(): void {
    if (this.#disposed)
      throw new GradCamError('ERR_DISPOSED', 'The model was disposed and cannot be used any more.');
  }
}

/** @internal The name of one of a model's methods; whether it has it, the native side tells. */
export function checkModelMethod(modelMethod: unknown): string {
  if (modelMethod === undefined) return 'forward';
  if (typeof modelMethod === 'string' && modelMethod !== '') return modelMethod;
  throw invalidArgumentType('modelMethod', "a method's name", modelMethod);
}

function readRunOptions(
  name: string,
  options: unknown,
): { modelMethod: string; arguments: ModelArguments; signal: AbortSignal | undefined } {
  const given = readOptions<RunOptions>(name, options, ['modelMethod', 'arguments', 'signal']);
  return {
    modelMethod: checkModelMethod(given.modelMethod),
    arguments: checkArguments(given.arguments).given,
    signal: checkSignal(given.signal),
  };
}

/** @internal */
export function toTensors(input: ModelInput, name = 'input'): Tensor[] {
  if (!Array.isArray(input)) return [Tensor.fromLike(input, name)];
  if (input.length === 0) throw invalidArgumentType(name, 'at least one tensor', input);
  return input.map((each, index) => Tensor.fromLike(each, `${name}[${index}]`));
}

/** @internal The inputs and checked arguments of a call. */
export function nativeInputs(input: ModelInput, given: ModelArguments): NativeInputs {
  return { tensors: toTensors(input).map((tensor) => [Tensor.reference(tensor)]), arguments: given };
}
