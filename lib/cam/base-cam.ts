import { argumentOutOfRange, GradCamError, invalidArgumentType } from '../errors.js';
import { Model, type ModelInput, type SuggestedLayer, toTensors } from '../model.js';
import type { OutputSelector } from '../model-output.js';
import { callNativeAsync, type NativeCallChoice, type NativeExplainRequest } from '../native.js';
import { nearestNames } from '../nearest-names.js';
import { checkSignal, readOptions } from '../options.js';
import { normalizeTargets, type Targets } from '../targets.js';
import { Tensor } from '../tensor.js';
import { Explanation } from './explanation.js';

/**
 * A layer to explain at: its path, and which call counts where the model calls it more than once: `'last'` (the
 * default), the call's index (0 is the first), or `'all'`, which averages the maps of all calls.
 */
export type TargetLayer = string | { readonly path: string; readonly call?: number | 'last' | 'all' };

export interface CAMOptions {
  readonly model: Model;
  /**
   * One layer or several, whose maps are averaged. Omitted: the model's suggested layer, found on the first explain by
   * one extra forward.
   */
  readonly targetLayers?: TargetLayer | readonly TargetLayer[];
  /** The part of the model's output that is explained, for models that return several. */
  readonly output?: OutputSelector;
  /**
   * Freeze the model up to the target layer and run that part in the fastest form there is. Default true. False runs the
   * model's graph as it is; the maps agree to 1e-4.
   */
  readonly optimize?: boolean;
}

export interface ExplainOptions {
  /** Default: of each image the class that the model predicts. */
  readonly targets?: Targets;
  /** Resize the maps to the input's size (the default), or leave them at the (largest) target layer's size. */
  readonly upsample?: boolean;
  /** Rejects with the signal's reason at once; the running work stops at its next stage. */
  readonly signal?: AbortSignal;
}

interface ChosenLayers {
  readonly layers: NativeExplainRequest['layers'];
  readonly reason: string | null;
}

/**
 * What all methods that make class activation maps share. Holds no memory of its own; the model belongs to the caller.
 */
export abstract class BaseCAM {
  readonly #model: Model;
  readonly #layers: NativeExplainRequest['layers'] | null;
  readonly #output: readonly (string | number)[];
  readonly #optimize: boolean;
  #disposed = false;

  /** @internal The method's name in the native module. */
  protected abstract readonly method: NativeExplainRequest['method'];

  /**
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_UNKNOWN_OPTION`
   * @throws {GradCamError} `ERR_UNKNOWN_LAYER` with the nearest names, `ERR_DISPOSED`
   */
  constructor(options: CAMOptions) {
    const given = readOptions<CAMOptions>(`${new.target.name} options`, options, [
      'model',
      'targetLayers',
      'output',
      'optimize',
    ]);
    if (!(given.model instanceof Model))
      throw invalidArgumentType('model', 'a Model from loadModel()', given.model);
    this.#model = given.model;
    this.#layers = given.targetLayers === undefined ? null : checkLayers(given.targetLayers, given.model);
    this.#output = checkSelector(given.output);
    this.#optimize = given.optimize ?? true;
    if (typeof this.#optimize !== 'boolean')
      throw invalidArgumentType('optimize', 'true or false', given.optimize);
  }

  /**
   * Explains a batch: one heatmap per image and target, from one forward. Runs on the library's own threads. The input
   * may be changed or disposed as soon as the call has returned its promise.
   * @param input - `[B, C, H, W]` (signals `[B, C, L]`, volumes `[B, C, D, H, W]`), normalised as the model was
   *   trained; for a model with several inputs an array, the first of which the maps belong to
   * @throws {GradCamError} `ERR_LAYER_NOT_CALLED`, `ERR_LAYER_OUTPUT`, `ERR_LAYER_DISCONNECTED`, `ERR_INPUT_SHAPE`,
   *   `ERR_INPUT_DTYPE`, `ERR_INPUT_NOT_FINITE`, `ERR_FORWARD`, `ERR_OUTPUT_SELECTOR`, `ERR_OUTPUT_SHAPE`,
   *   `ERR_CLASS_OUT_OF_RANGE`, `ERR_TARGET_COUNT`, `ERR_MODEL_FROZEN`, `ERR_NO_LAYER_SUGGESTION`, `ERR_DISPOSED`,
   *   `ERR_OUT_OF_MEMORY`
   * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
   */
  async explain(input: ModelInput, options?: ExplainOptions): Promise<Explanation> {
    if (this.#disposed) throw new GradCamError('ERR_DISPOSED', `This ${this.constructor.name} was disposed.`);
    const given = readOptions<ExplainOptions>('explain options', options, ['targets', 'upsample', 'signal']);
    const signal = checkSignal(given.signal);
    const upsample = given.upsample ?? true;
    if (typeof upsample !== 'boolean') throw invalidArgumentType('upsample', 'true or false', upsample);
    const targets = normalizeTargets(given.targets);
    const tensors = toTensors(input);
    signal?.throwIfAborted();
    const { layers, reason } = this.#layers
      ? { layers: this.#layers, reason: null }
      : await this.#suggest(tensors);
    const request: NativeExplainRequest = {
      method: this.method,
      inputs: tensors.map(Tensor.reference),
      layers,
      output: [...this.#output],
      targets,
      upsample,
      optimize: this.#optimize,
    };
    const native = await callNativeAsync(signal, (module, cancellation) =>
      module.explain(Model.reference(this.#model), request, cancellation),
    );
    return new Explanation(native, reason);
  }

  async #suggest(inputs: readonly Tensor[]): Promise<ChosenLayers> {
    const { path, reason }: SuggestedLayer = await this.#model.suggestLayer(inputs);
    return { layers: [{ path, call: 'last' }], reason };
  }

  /** Refuses further explains. The model is not disposed. */
  async dispose(): Promise<void> {
    this.#disposed = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }
}

function checkLayers(targetLayers: unknown, model: Model): NativeExplainRequest['layers'] {
  const list: unknown[] = Array.isArray(targetLayers) ? targetLayers : [targetLayers];
  if (list.length === 0) throw argumentOutOfRange('targetLayers', 'at least one layer', 'an empty array');
  const paths = model.layers().map((layer) => layer.path);
  return list.map((entry, index) => {
    const name = `targetLayers[${index}]`;
    const given = typeof entry === 'string' ? { path: entry } : readLayer(name, entry);
    // A frozen file has no names to compare with; the native side explains that.
    if (!model.frozen && !paths.includes(given.path)) throw unknownLayer(given.path, paths);
    return { path: given.path, call: checkCall(`${name}.call`, given.call ?? 'last') };
  });
}

function readLayer(name: string, entry: unknown): { path: string; call?: unknown } {
  if (typeof entry !== 'object' || entry === null) {
    throw invalidArgumentType(name, "a layer's path or { path, call }", entry);
  }
  const { path, call } = readOptions<{ path: string; call?: unknown }>(name, entry, ['path', 'call']);
  if (typeof path !== 'string') throw invalidArgumentType(`${name}.path`, 'a string', path);
  return { path, call };
}

function checkCall(name: string, call: unknown): NativeCallChoice {
  if (call === 'last' || call === 'all') return call;
  if (typeof call !== 'number') throw invalidArgumentType(name, "'last', 'all' or an index", call);
  if (!Number.isInteger(call) || call < 0 || call > 1e6)
    throw argumentOutOfRange(name, 'an integer of at least 0', call);
  return call;
}

function unknownLayer(path: string, paths: readonly string[]): GradCamError {
  const suggestions = nearestNames(path, paths);
  const hint =
    suggestions.length > 0
      ? `The nearest names: '${suggestions.join("', '")}'.`
      : 'The model has no layers at all.';
  return new GradCamError('ERR_UNKNOWN_LAYER', `The model has no layer '${path}'. ${hint}`, {
    details: { layer: path, suggestions },
  });
}

function checkSelector(output: unknown): readonly (string | number)[] {
  if (output === undefined) return [];
  const steps: unknown[] = Array.isArray(output) ? output : [output];
  for (const step of steps) {
    const valid = typeof step === 'string' || (Number.isSafeInteger(step) && (step as number) >= 0);
    if (!valid) throw invalidArgumentType('output', 'a key, a position, or an array of these', step);
  }
  return steps as (string | number)[];
}
