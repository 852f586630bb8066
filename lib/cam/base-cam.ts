import {
  callNativeAsync,
  type NativeExplainRequest,
  type NativeMethodRequest,
  type NativeTarget,
} from '../addon/addon.js';
import { GradCamError, invalidArgumentType } from '../errors/errors.js';
import { readOptions, unlessAborted } from '../errors/options.js';
import type { CheckedArguments, ModelArguments } from '../model/arguments.js';
import { type ExplainFacts, observeBatch, observeExplain } from '../model/diagnostics.js';
import { checkModelMethod, Model, type ModelInput, type SuggestedLayer } from '../model/model.js';
import { disposeOutput, type OutputSelector, selectOutput } from '../model/output.js';
import { checkSelector } from '../model/output-selector.js';
import { checkReshapeTransform, type ReshapeTransform } from '../model/reshape-transform.js';
import { checkScores, isTwoSided, type Scores } from '../model/scores.js';
import { checkTargetLayers, type TargetLayer } from '../model/target-layers.js';
import { withFunctionTargets } from '../targets/function-target.js';
import { throwNamingSegmentation } from '../targets/segmentation-hint.js';
import { Tensor } from '../tensor/tensor.js';
import { checkExplainArguments, type ExplainArguments, type ExplainOptions } from './explain-arguments.js';
import { Explanation } from './explanation.js';
import { chooseSides, countOutputs, targetSides } from './two-sides.js';

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
   * What the outputs are, of a classifier. With `'binary'`, classes 0 and 1 are targets of a model with one output, and the
   * default target is the side that it predicts. Default: nothing of that; one output is class 0.
   */
  readonly scores?: Scores;
  /** @internal How many labels the sidecar has: two for one output mean two classes. */
  readonly labelCount?: number;
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
  readonly #scores: { readonly scores: Scores | undefined; readonly labelCount: number | undefined };
  /** Of the arguments looked with last. */
  #twoSided: { readonly key: string; readonly found: Promise<boolean> } | undefined;
  #disposed = false;

  /** @internal False for methods that cannot share a forward with others. */
  static readonly shareable: boolean = true;

  /** @internal False for methods that look at the whole network. */
  static readonly needsLayers: boolean = true;

  /** @internal The method as the native module knows it. */
  protected abstract readonly method: Omit<NativeMethodRequest, 'eigenSmooth'>;

  /**
   * @internal Refuses what this method cannot do, however it is called.
   * @throws {GradCamError} `ERR_UNSUPPORTED`
   */
  protected checkArguments(_how: Omit<ExplainArguments, 'inputs'>): void {}

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
      'scores',
      'labelCount',
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
    this.#scores = { scores: checkScores(given.scores), labelCount: given.labelCount };
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
   *   `ERR_INPUT_DTYPE`, `ERR_INPUT_NOT_FINITE`, `ERR_FORWARD`, `ERR_MODEL_ARGUMENTS`, `ERR_OUTPUT_SELECTOR`, `ERR_OUTPUT_SHAPE`,
   *   `ERR_CLASS_OUT_OF_RANGE`, `ERR_NO_DETECTION`, `ERR_TARGET_COUNT`, `ERR_MODEL_FROZEN`, `ERR_NO_LAYER_SUGGESTION`,
   *   `ERR_DISPOSED`, `ERR_OUT_OF_MEMORY`
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

  /**
   * Refuses what the method does not have; whatever way an explain takes, it passes here.
   * @internal
   */
  checkSupported(_how: Pick<ExplainArguments, 'eigenSmooth'>): void {}

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
    for (const cam of cams) cam.checkArguments(how);
    const apart = this.takesImageList && differInSize(inputs.flat());
    const looks = this.#looksForSides;
    if (this.#layers && !apart && !looks) {
      const chosen = { layers: this.#layers, reshape: this.#reshape, reason: null };
      return await this.#explainAt(chosen, cams, inputs, how, this.#scores.scores === 'binary');
    }
    // The caller may dispose of the input while the layer is looked for, or while its images run one by one.
    const held = inputs.map((parts) => parts.map((tensor) => tensor.share()));
    try {
      if (apart) return await this.#explainEach(cams, held.flat(), how);
      const firsts = held.flatMap(([first]) => first ?? []);
      const sides = looks
        ? await unlessAborted(how.signal, () => this.#findSides(firsts, how.modelArguments))
        : this.#scores.scores === 'binary';
      const found = this.#layers
        ? { layers: this.#layers, reshape: this.#reshape, reason: null }
        : await unlessAborted(how.signal, () => this.#suggest(firsts, how.modelArguments));
      return await this.#explainAt(found, cams, held, how, sides);
    } finally {
      for (const tensor of held.flat()) tensor.dispose();
    }
  }

  async #explainAt(
    { layers, reshape, reason }: ChosenLayers,
    cams: readonly BaseCAM[],
    inputs: readonly (readonly Tensor[])[],
    {
      targets: given,
      modelArguments,
      upsample,
      augmentations,
      eigenSmooth,
      onProgress,
      signal,
    }: Omit<ExplainArguments, 'inputs'>,
    twoSided: boolean,
  ): Promise<Explanation[]> {
    const adjusted = given.map((ofImage) => ofImage.map((target) => this.adjustTarget(target)));
    const sides = twoSided ? targetSides(adjusted) : null;
    const targets = sides?.targets ?? adjusted;
    checkSigns(cams, targets);
    const request: NativeExplainRequest = {
      methods: cams.map((cam) => ({ ...cam.method, eigenSmooth })),
      augmentations,
      inputs: {
        tensors: inputs.map((parts) => parts.map(Tensor.reference)),
        arguments: modelArguments.given,
      },
      layers,
      modelMethod: this.#modelMethod,
      output: [...this.#output],
      reshape,
      targets,
      upsample,
      optimize: this.#optimize,
    };
    const native = await withFunctionTargets(targets, () =>
      callNativeAsync(signal, (module, cancellation) =>
        module.explain(Model.reference(this.#model), request, cancellation, onProgress),
      ),
    ).catch(throwNamingSegmentation);
    Model.addTimings(this.#model, native.timings);
    observeBatch({
      ...this.facts(cams, inputs),
      layers: native.layers.map(({ path }) => path),
      timings: native.timings,
    });
    return native.methods.map((_, method) => {
      const explanation = Explanation.fromNative(native, method, reason);
      return sides ? chooseSides(explanation, sides, this.#output, this.#scores) : explanation;
    });
  }

  /** Two labels may be those of one output: the first explain looks, with a forward. */
  get #looksForSides(): boolean {
    const { scores, labelCount } = this.#scores;
    return labelCount === 2 && scores !== 'binary' && !this.takesImageList;
  }

  #findSides(inputs: readonly Tensor[], { key, given }: CheckedArguments): Promise<boolean> {
    if (this.#twoSided?.key === key) return this.#twoSided.found;
    const looked = { key, found: this.#lookForSides(inputs, given) };
    this.#twoSided = looked;
    looked.found.catch(() => {
      if (this.#twoSided === looked) this.#twoSided = undefined;
    });
    return looked.found;
  }

  async #lookForSides(inputs: readonly Tensor[], given: ModelArguments): Promise<boolean> {
    const whole = await this.#model.forward(inputs, { modelMethod: this.#modelMethod, arguments: given });
    const count = countOutputs(selectOutput(whole, this.#output), inputs[0]?.shape[0] ?? 0);
    disposeOutput(whole);
    return count !== null && isTwoSided(count, this.#scores);
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

  /**
   * @internal Whether images of several calls must not share a batch, as far as is known. What a detector gives for an image
   * is not told apart in a batch's output.
   */
  get runsImagesAlone(): boolean {
    return this.takesImageList || Model.runsImagesAlone(this.#model, this.#modelMethod);
  }

  /** @internal */
  get model(): Model {
    return this.#model;
  }

  /** @internal */
  get takesImageList(): boolean {
    return this.#model.takesImageList && this.#modelMethod === 'forward';
  }

  async #suggest(inputs: readonly Tensor[], { given }: CheckedArguments): Promise<ChosenLayers> {
    const { path, reason, reshapeTransform }: SuggestedLayer = await this.#model.suggestLayer(inputs, {
      modelMethod: this.#modelMethod,
      arguments: given,
    });
    return {
      layers: [{ path, call: 'last', output: [] }],
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

/** CAM takes a class's weights from the linear layer, where the other side of one output has none. */
function checkSigns(cams: readonly BaseCAM[], targets: readonly (readonly NativeTarget[])[]): void {
  if (!targets.flat().some(({ kind }) => kind === 'binary')) return;
  if (cams.every((cam) => cam.facts([cam], []).methods[0] !== 'CAM')) return;
  throw new GradCamError(
    'ERR_UNSUPPORTED',
    'CAM cannot explain the two sides of one output. Use GradCAM, which is the same for a linear layer behind a mean.',
  );
}

function imageCount({ shape }: Tensor): number {
  return shape.length === 4 ? (shape[0] ?? 0) : 1;
}

function differInSize(images: readonly Tensor[]): boolean {
  const sizes = images.map(({ shape }) => shape.slice(-3).join('x'));
  return new Set(sizes).size > 1;
}
