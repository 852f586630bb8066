import { type ExplainFacts, observeBatch, observeExplain } from '../diagnostics.js';
import { argumentOutOfRange, GradCamError, invalidArgumentType } from '../errors.js';
import { checkModelMethod, Model, type ModelInput, type SuggestedLayer, toTensors } from '../model.js';
import type { OutputSelector } from '../model-output.js';
import {
  callNativeAsync,
  type NativeExplainRequest,
  type NativeMethodRequest,
  type NativeTarget,
} from '../native.js';
import { checkSignal, readOptions, unlessAborted } from '../options.js';
import { checkSelector } from '../output-selector.js';
import { withFunctionTargets } from '../targets/function-target.js';
import { normalizeTargets, type Targets } from '../targets/target.js';
import { Tensor } from '../tensor.js';
import { Explanation } from './explanation.js';
import { checkReshapeTransform, type ReshapeTransform } from './reshape-transform.js';
import { checkTargetLayers, type TargetLayer } from './target-layers.js';

export interface CAMOptions {
  readonly model: Model;
  /**
   * One layer or several, whose maps are averaged. Omitted: the model's suggested layer, found on the first explain by
   * one extra forward.
   */
  readonly targetLayers?: TargetLayer | readonly TargetLayer[];
  /** Which of the model's methods is explained: of CLIP `'encode_image'`. Default `'forward'`. */
  readonly modelMethod?: string;
  /** The part of the model's output that is explained, for models that return several. */
  readonly output?: OutputSelector;
  /**
   * Freeze the model up to the target layer and run that part in the fastest form there is. Default true. False runs the
   * model's graph as it is. Either is as close to the float64 result as PyTorch is: see docs/parity.md.
   */
  readonly optimize?: boolean;
  /**
   * For layers of transformers, whose output is not `[B, C, H, W]`. Default: none, or with the suggested layer what it
   * needs.
   */
  readonly reshapeTransform?: ReshapeTransform;
}

export interface ExplainOptions {
  /** Default: of each image the class that the model predicts. */
  readonly targets?: Targets;
  /**
   * Resize the maps to the input's size, `'bilinear'` (the default, and what true means) or `'bicubic'`, or leave them
   * at the (largest) target layer's size (false).
   */
  readonly upsample?: boolean | 'bilinear' | 'bicubic';
  /**
   * Average the maps of the image as it is and mirrored, each at 0.9, 1 and 1.1 times its (normalised) values: smoother
   * maps for six times the cost, as pytorch-grad-cam's. Or an array of your own changes. Default false.
   */
  readonly augSmooth?: boolean | readonly Augmentation[];
  /**
   * Project the weighted activations on their first principal component instead of summing the channels: less noise,
   * one dominant object. Default false.
   */
  readonly eigenSmooth?: boolean;
  /** Called as methods that run the model many times go on, with the runs done and their total, in images. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Rejects with the signal's reason at once; the running work stops at its next stage. */
  readonly signal?: AbortSignal;
}

/** A changed copy of the input, whose map is changed back and averaged with the others. */
export interface Augmentation {
  /** Mirror along the last axis. Default false. */
  readonly flip?: boolean;
  /** Multiply the values. Default 1. */
  readonly multiply?: number;
}

const standardAugmentations = [false, true].flatMap((flip) =>
  [0.9, 1, 1.1].map((multiply) => ({ flip, multiply })),
);

interface ChosenLayers {
  readonly layers: NativeExplainRequest['layers'];
  readonly reshape: NativeExplainRequest['reshape'];
  readonly reason: string | null;
}

/**
 * What all methods that make class activation maps share. Holds no memory of its own; the model belongs to the caller.
 */
export abstract class BaseCAM {
  readonly #model: Model;
  readonly #layers: NativeExplainRequest['layers'] | null;
  readonly #modelMethod: string;
  readonly #output: readonly (string | number)[];
  readonly #optimize: boolean;
  readonly #reshape: NativeExplainRequest['reshape'];
  #disposed = false;

  /** @internal False for methods that cannot share a forward with others. */
  static readonly shareable: boolean = true;

  /** @internal False for methods that look at the whole network. */
  static readonly needsLayers: boolean = true;

  /** @internal The method as the native module knows it. */
  protected abstract readonly method: Omit<NativeMethodRequest, 'eigenSmooth'>;

  /** @internal What a target becomes for this method. */
  protected adjustTarget(target: NativeTarget): NativeTarget {
    return target;
  }

  /**
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_UNKNOWN_OPTION`
   * @throws {GradCamError} `ERR_UNKNOWN_LAYER` with the nearest names, `ERR_DISPOSED`
   */
  constructor(options: CAMOptions) {
    const given = readOptions<CAMOptions>(`${new.target.name} options`, options, [
      'model',
      'targetLayers',
      'modelMethod',
      'output',
      'optimize',
      'reshapeTransform',
    ]);
    if (!(given.model instanceof Model))
      throw invalidArgumentType('model', 'a Model from loadModel()', given.model);
    this.#model = given.model;
    const { needsLayers } = new.target;
    this.#layers = needsLayers ? null : [];
    if (needsLayers && given.targetLayers !== undefined)
      this.#layers = checkTargetLayers(given.targetLayers, given.model);
    this.#modelMethod = checkModelMethod(given.modelMethod);
    this.#output = checkSelector(given.output);
    this.#reshape = checkReshapeTransform(given.reshapeTransform);
    this.#optimize = given.optimize ?? true;
    if (typeof this.#optimize !== 'boolean')
      throw invalidArgumentType('optimize', 'true or false', given.optimize);
  }

  /**
   * Explains a batch: one heatmap per image and target, from one forward. Runs on the library's own threads. The input
   * may be changed or disposed as soon as the call has returned its promise.
   * @param input - `[B, C, H, W]` (signals `[B, C, L]`, volumes `[B, C, D, H, W]`), normalised as the model was
   *   trained; for a model with several inputs an array, the first of which the maps belong to; for a model that takes
   *   a list of images (torchvision's detectors) an array of images, `[C, H, W]` each, or a batch
   * @throws {GradCamError} `ERR_LAYER_NOT_CALLED`, `ERR_LAYER_OUTPUT`, `ERR_LAYER_DISCONNECTED`, `ERR_INPUT_SHAPE`,
   *   `ERR_INPUT_DTYPE`, `ERR_INPUT_NOT_FINITE`, `ERR_FORWARD`, `ERR_OUTPUT_SELECTOR`, `ERR_OUTPUT_SHAPE`,
   *   `ERR_CLASS_OUT_OF_RANGE`, `ERR_TARGET_COUNT`, `ERR_MODEL_FROZEN`, `ERR_NO_LAYER_SUGGESTION`, `ERR_DISPOSED`,
   *   `ERR_OUT_OF_MEMORY`
   * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
   */
  async explain(input: ModelInput, options?: ExplainOptions): Promise<Explanation> {
    const { inputs, ...rest } = checkExplainArguments(input, options);
    const parts = inputs.map((tensor) => [tensor]);
    return await observeExplain(this.facts([this], parts), () => this.explainParts(parts, rest));
  }

  /** @internal What the diagnostics channels tell of an explain. */
  facts(cams: readonly BaseCAM[], inputs: readonly (readonly Tensor[])[]): ExplainFacts {
    return {
      model: this.#model.path,
      methods: cams.map((cam) => cam.method.name),
      layers: this.#layers?.map(({ path }) => path) ?? [],
      images: this.#count(inputs),
    };
  }

  #count(inputs: readonly (readonly Tensor[])[]): number {
    const counts = this.takesImageList
      ? inputs.flat().map(imageCount)
      : (inputs[0] ?? []).map(({ shape }) => shape[0] ?? 0);
    return counts.reduce((sum, count) => sum + count, 0);
  }

  /**
   * One explain of a batch in parts: of each of the model's inputs the tensors that, one behind the other, make it.
   * @internal
   */
  async explainParts(
    inputs: readonly (readonly Tensor[])[],
    how: Omit<ExplainArguments, 'inputs'>,
  ): Promise<Explanation> {
    const [explanation] = await this.explainTogether([this], inputs, how);
    return explanation as Explanation;
  }

  /**
   * The explanations of several methods from one forward, with this one's layers and targets.
   * @internal
   */
  async explainTogether(
    cams: readonly BaseCAM[],
    inputs: readonly (readonly Tensor[])[],
    how: Omit<ExplainArguments, 'inputs'>,
  ): Promise<Explanation[]> {
    if (this.#disposed) throw new GradCamError('ERR_DISPOSED', `This ${this.constructor.name} was disposed.`);
    how.signal?.throwIfAborted();
    const apart = this.#model.takesImageList && differInSize(inputs.flat());
    if (this.#layers && !apart) {
      const chosen = { layers: this.#layers, reshape: this.#reshape, reason: null };
      return await this.#explainAt(chosen, cams, inputs, how);
    }
    // The caller may dispose of the input while the layer is looked for, or while its images run one by one.
    const held = inputs.map((parts) => parts.map((tensor) => tensor.share()));
    try {
      if (apart) return await this.#explainEach(cams, held.flat(), how);
      const found = await unlessAborted(how.signal, () =>
        this.#suggest(held.flatMap(([first]) => first ?? [])),
      );
      return await this.#explainAt(found, cams, held, how);
    } finally {
      for (const tensor of held.flat()) tensor.dispose();
    }
  }

  async #explainAt(
    { layers, reshape, reason }: ChosenLayers,
    cams: readonly BaseCAM[],
    inputs: readonly (readonly Tensor[])[],
    { targets, upsample, augmentations, eigenSmooth, onProgress, signal }: Omit<ExplainArguments, 'inputs'>,
  ): Promise<Explanation[]> {
    const request: NativeExplainRequest = {
      methods: cams.map((cam) => ({ ...cam.method, eigenSmooth })),
      augmentations,
      inputs: inputs.map((parts) => parts.map(Tensor.reference)),
      layers,
      modelMethod: this.#modelMethod,
      output: [...this.#output],
      reshape,
      targets: targets.map((ofImage) => ofImage.map((target) => this.adjustTarget(target))),
      upsample,
      optimize: this.#optimize,
    };
    const native = await withFunctionTargets(targets, () =>
      callNativeAsync(signal, (module, cancellation) =>
        module.explain(Model.reference(this.#model), request, cancellation, onProgress),
      ),
    );
    Model.addTimings(this.#model, native.timings);
    observeBatch({
      ...this.facts(cams, inputs),
      layers: native.layers.map(({ path }) => path),
      timings: native.timings,
    });
    return native.methods.map((_, method) => Explanation.fromNative(native, method, reason));
  }

  /** Images of different sizes, of a model that takes them as a list: each alone, so that none is padded for another. */
  async #explainEach(
    cams: readonly BaseCAM[],
    images: readonly Tensor[],
    { targets, onProgress, ...how }: Omit<ExplainArguments, 'inputs'>,
  ): Promise<Explanation[]> {
    const counts = images.map(imageCount);
    const total = counts.reduce((sum, count) => sum + count, 0);
    if (targets.length !== 1 && targets.length !== total) {
      throw new GradCamError(
        'ERR_TARGET_COUNT',
        `There are ${total} images but targets for ${targets.length}. Give one list for each image, or one for all.`,
      );
    }
    const ofImages: Explanation[][] = [];
    let start = 0;
    for (const [index, image] of images.entries()) {
      const end = start + (counts[index] ?? 0);
      const progress = onProgress
        ? (done: number, all: number) => onProgress(index * all + done, images.length * all)
        : undefined;
      const own = targets.length === 1 ? targets : targets.slice(start, end);
      const arguments_ = { ...how, targets: own, onProgress: progress };
      ofImages.push(await this.explainTogether(cams, [[image]], arguments_));
      start = end;
    }
    return cams.map((_, method) =>
      Explanation.ofDifferentSizes(
        ofImages.map((explanations) => explanations[method] as Explanation),
        counts,
      ),
    );
  }

  /** @internal */
  get takesImageList(): boolean {
    return this.#model.takesImageList;
  }

  async #suggest(inputs: readonly Tensor[]): Promise<ChosenLayers> {
    const { path, reason, reshapeTransform }: SuggestedLayer = await this.#model.suggestLayer(inputs, {
      modelMethod: this.#modelMethod,
    });
    return {
      layers: [{ path, call: 'last' }],
      reshape: this.#reshape ?? checkReshapeTransform(reshapeTransform),
      reason,
    };
  }

  /** Refuses further explains. The model is not disposed. */
  async dispose(): Promise<void> {
    this.#disposed = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }
}

function imageCount({ shape }: Tensor): number {
  return shape.length === 4 ? (shape[0] ?? 0) : 1;
}

function differInSize(images: readonly Tensor[]): boolean {
  const sizes = images.map(({ shape }) => shape.slice(-3).join('x'));
  return new Set(sizes).size > 1;
}

/** @internal The arguments of an explain, checked. */
export interface ExplainArguments {
  readonly inputs: readonly Tensor[];
  readonly targets: NativeTarget[][];
  readonly upsample: NativeExplainRequest['upsample'];
  readonly augmentations: NativeExplainRequest['augmentations'];
  readonly eigenSmooth: boolean;
  readonly onProgress: ((done: number, total: number) => void) | undefined;
  readonly signal: AbortSignal | undefined;
}

/** @internal */
export function checkExplainArguments(
  input: ModelInput,
  options: ExplainOptions | undefined,
): ExplainArguments {
  const given = readOptions<ExplainOptions>('explain options', options, [
    'targets',
    'upsample',
    'augSmooth',
    'eigenSmooth',
    'onProgress',
    'signal',
  ]);
  const signal = checkSignal(given.signal);
  const upsample = checkUpsample(given.upsample ?? true);
  const targets = normalizeTargets(given.targets);
  const eigenSmooth = given.eigenSmooth ?? false;
  if (typeof eigenSmooth !== 'boolean')
    throw invalidArgumentType('eigenSmooth', 'true or false', eigenSmooth);
  const { onProgress } = given;
  if (onProgress !== undefined && typeof onProgress !== 'function')
    throw invalidArgumentType('onProgress', 'a function', onProgress);
  const augmentations = checkAugmentations(given.augSmooth ?? false);
  return { inputs: toTensors(input), targets, upsample, augmentations, eigenSmooth, onProgress, signal };
}

function checkUpsample(upsample: unknown): NativeExplainRequest['upsample'] {
  if (upsample === true) return 'bilinear';
  if (upsample === false) return 'none';
  if (upsample === 'bilinear' || upsample === 'bicubic') return upsample;
  throw invalidArgumentType('upsample', "true, false, 'bilinear' or 'bicubic'", upsample);
}

function checkAugmentations(augSmooth: unknown): NativeExplainRequest['augmentations'] {
  if (typeof augSmooth === 'boolean') return augSmooth ? standardAugmentations : [];
  if (!Array.isArray(augSmooth)) throw invalidArgumentType('augSmooth', 'true, false or an array', augSmooth);
  return augSmooth.map((each, index) => {
    const name = `augSmooth[${index}]`;
    const { flip = false, multiply = 1 } = readOptions<Augmentation>(name, each, ['flip', 'multiply']);
    if (typeof flip !== 'boolean') throw invalidArgumentType(`${name}.flip`, 'true or false', flip);
    if (typeof multiply !== 'number') throw invalidArgumentType(`${name}.multiply`, 'a number', multiply);
    if (!Number.isFinite(multiply)) throw argumentOutOfRange(`${name}.multiply`, 'a finite number', multiply);
    return { flip, multiply };
  });
}
