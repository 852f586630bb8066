import { threads } from '../addon/threads.js';
import { BaseCAM, type CAMOptions } from '../cam/base-cam.js';
import type { ExplainOptions } from '../cam/explain-arguments.js';
import { checkExplainArguments } from '../cam/explain-arguments.js';
import { Explanation } from '../cam/explanation.js';
import { createCam, type MethodName, type MethodOptions } from '../cam/methods/registry.js';
import { argumentOutOfRange, GradCamError, invalidArgumentType } from '../errors/errors.js';
import { readOptions } from '../errors/options.js';
import { observeExplain } from '../model/diagnostics.js';
import type { Model, ModelInput } from '../model/model.js';
import { SharedBatches } from './shared-batches.js';
import { type ExplainerCounters, ExplainerStatistics } from './statistics.js';
import { compatibilityOf, WaitingImages, type WaitingItem } from './waiting-images.js';

/** How many images an Explainer takes at once. */
export interface ExplainerLimits {
  /** Most images in one batch. Default {@link defaultMaxBatch}: 8 on the CPU, 32 on a GPU. */
  readonly maxBatch?: number;
  /**
   * How long an image waits for others to fill its batch, in milliseconds. Default 0: take what waits. Images that come
   * while the executors are busy share a batch anyway.
   */
  readonly maxDelayMs?: number;
  /** Most images that may wait; more are refused with `ERR_BUSY`. Default 256. */
  readonly maxQueue?: number;
}

export interface ExplainerOptions extends CAMOptions, ExplainerLimits {
  /** Name of the method. Default `'gradcam'`. */
  readonly method?: MethodName;
  /** What the method takes beside what all do: of `'ablationcam'` `{ ratioChannelsToAblate: 0.1 }`. Default: its defaults. */
  readonly options?: MethodOptions;
}

/** An Explainer of a CAM that is there already, such as one of a class of your own. */
export interface CamExplainerOptions extends ExplainerLimits {
  /** What explains. It and its model stay the caller's. */
  readonly cam: BaseCAM;
}

const limits = ['maxBatch', 'maxDelayMs', 'maxQueue'] as const;

/** How many images a device wants at once: a GPU is not filled by those that a CPU computes. */
export function defaultMaxBatch({ device }: Model): number {
  return device === 'cpu' ? 8 : 32;
}

/**
 * Explains for many callers at once: each asks for its own image, with its own targets, and the images that wait are
 * explained together in batches. One that fails fails alone. Each call is a batch of its own where the model takes one image
 * only, which the first batch finds out, where images that run together change each other's results
 * ({@link Model.warnings}), and of detectors.
 * @example
 * const explainer = new Explainer({ model, targetLayers: 'layer4' });
 * const explanation = await explainer.explain(image.tensor, { targets: 281, signal });
 * new Explainer({ cam: new AblationCAM({ model, ratioChannelsToAblate: 0.1 }), maxBatch: 4 });
 */
export class Explainer {
  readonly #cam: BaseCAM;
  readonly #maxBatch: number;
  readonly #maxDelayMs: number;
  readonly #maxQueue: number;
  readonly #waiting = new WaitingImages();
  readonly #shared = new SharedBatches();
  readonly #statistics = new ExplainerStatistics();
  #runningBatches = 0;
  #scheduled: NodeJS.Immediate | undefined;
  #delay: NodeJS.Timeout | undefined;
  #disposed = false;
  #whenIdle: (() => void)[] = [];

  /**
   * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
   * @throws {GradCamError} `ERR_UNKNOWN_LAYER`
   */
  constructor(options: ExplainerOptions | CamExplainerOptions) {
    const { maxBatch, maxDelayMs, maxQueue, ...how } = readOptions<ExplainerOptions & CamExplainerOptions>(
      'Explainer options',
      options,
      [
        'cam',
        'model',
        'targetLayers',
        'modelMethod',
        'output',
        'scores',
        'labelCount',
        'optimize',
        'reshapeTransform',
        'method',
        'options',
        ...limits,
      ],
    );
    this.#cam = camOf(how);
    this.#maxBatch = checkNumber('maxBatch', maxBatch ?? defaultMaxBatch(this.#cam.model), 1, 4096, true);
    this.#maxDelayMs = checkNumber('maxDelayMs', maxDelayMs ?? 0, 0, 60_000, false);
    this.#maxQueue = checkNumber('maxQueue', maxQueue ?? 256, 1, 1_000_000, true);
  }

  /**
   * Explains one image (or a few, which stay together).
   * @param input - `[1, C, H, W]`, as for {@link BaseCAM.explain}
   * @throws {GradCamError} `ERR_BUSY` when `maxQueue` images wait, and all of {@link BaseCAM.explain}
   */
  async explain(input: ModelInput, options?: ExplainOptions): Promise<Explanation> {
    if (this.#disposed) throw new GradCamError('ERR_DISPOSED', 'This Explainer was disposed.');
    const { inputs, targets, signal, onProgress, ...how } = checkExplainArguments(input, options);
    if (onProgress !== undefined)
      throw invalidArgumentType(
        'onProgress',
        'nothing (images of an Explainer are computed together)',
        onProgress,
      );
    signal?.throwIfAborted();
    const alone = this.#cam.takesImageList;
    if (alone && (inputs.length > 1 || (inputs[0]?.shape.length === 4 && inputs[0].shape[0] !== 1)))
      throw invalidArgumentType('input', 'one image (of a model that takes a list of images)', input);
    const images = alone ? 1 : (inputs[0]?.shape[0] ?? 0);
    if (targets.length !== 1 && targets.length !== images) {
      throw new GradCamError(
        'ERR_TARGET_COUNT',
        `There are ${images} images but targets for ${targets.length}. Give one list for each image, or one for all.`,
      );
    }
    if (this.#waiting.images + images > this.#maxQueue && this.#waiting.images > 0) {
      this.#statistics.refused++;
      throw new GradCamError(
        'ERR_BUSY',
        `${this.#waiting.images} images wait already, and at most ${this.#maxQueue} may (maxQueue). Try again later.`,
      );
    }
    this.#statistics.requests++;
    // The caller may dispose of the input while it waits.
    const held = inputs.map((tensor) => tensor.share());
    const facts = this.#cam.facts([this.#cam], [held]);
    const answer = () => this.#answer(held, images, targets, how, signal);
    return await observeExplain({ ...facts, images }, answer).finally(() => {
      for (const tensor of held) tensor.dispose();
    });
  }

  #answer(
    inputs: WaitingItem['inputs'],
    images: number,
    targets: WaitingItem['targets'],
    how: WaitingItem['how'],
    signal: AbortSignal | undefined,
  ): Promise<Explanation> {
    return new Promise<Explanation>((resolve, reject) => {
      const item: WaitingItem = {
        inputs,
        images,
        targets: targets.length === images ? targets : Array.from({ length: images }, () => targets[0] ?? []),
        how,
        compatibility: compatibilityOf(inputs, how),
        since: performance.now(),
        resolve,
        reject,
        aborted: false,
        onAborted: null,
      };
      if (signal) this.#rejectOnAbort(item, signal);
      this.#waiting.add(item);
      this.#schedule();
    });
  }

  /** What was done so far. */
  get stats(): ExplainerCounters {
    return this.#statistics.read(this.#waiting.images, this.#runningBatches);
  }

  /** Refuses further images, and resolves when those that were accepted are done. The model is not disposed. */
  async dispose(): Promise<void> {
    this.#disposed = true;
    if (this.#waiting.images === 0 && this.#runningBatches === 0) return;
    await new Promise<void>((resolve) => this.#whenIdle.push(resolve));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  #rejectOnAbort(item: WaitingItem, signal: AbortSignal): void {
    const onAbort = () => {
      item.aborted = true;
      this.#statistics.aborted++;
      this.#waiting.remove(item);
      item.onAborted?.();
      item.reject(signal.reason);
      this.#settleIfIdle();
    };
    signal.addEventListener('abort', onAbort, { once: true });
    const stopListening = () => signal.removeEventListener('abort', onAbort);
    const { resolve, reject } = item;
    item.resolve = (explanation) => {
      stopListening();
      resolve(explanation);
    };
    item.reject = (reason) => {
      stopListening();
      reject(reason);
    };
  }

  /** Starts batches once this turn of the event loop is over, so that images that come together go together. */
  #schedule(): void {
    this.#scheduled ??= setImmediate(() => {
      this.#scheduled = undefined;
      this.#startBatches();
    });
  }

  #startBatches(): void {
    clearTimeout(this.#delay);
    while (this.#waiting.images > 0) {
      const next = this.#nextBatch();
      if (next === null) return;
      if (typeof next === 'number') {
        this.#delay = setTimeout(() => this.#startBatches(), next);
        return;
      }
      void this.#run(this.#waiting.takeBatch(next, this.#mostTogether(next)));
    }
  }

  /** An item of the batch to start now, the oldest before one that is full; or in how many milliseconds; null: later. */
  #nextBatch(): WaitingItem | number | null {
    const oldest = this.#waiting.oldest;
    const [first] = oldest;
    const isFull = (item: WaitingItem) => this.#waiting.imagesLike(item) >= this.#mostTogether(item);
    const remainingDelay = (first?.since ?? 0) + this.#maxDelayMs - performance.now();
    // One full batch more than runs, so that no executor waits for the event loop; what is not full may still fill.
    const { executors } = threads();
    if (this.#runningBatches > executors) return null;
    const full = first && isFull(first) ? first : oldest.find(isFull);
    if (this.#runningBatches === executors && full === undefined) return null;
    if (first && remainingDelay <= 0) return first;
    return full ?? remainingDelay;
  }

  /** A batch of one call where calls must not share one. */
  #mostTogether(item: WaitingItem): number {
    return this.#cam.runsImagesAlone || !this.#shared.mayShare(item) ? 1 : this.#maxBatch;
  }

  async #run(items: readonly WaitingItem[]): Promise<void> {
    this.#runningBatches++;
    try {
      await this.#explainTogether(items);
    } finally {
      this.#runningBatches--;
      this.#startBatches();
      this.#settleIfIdle();
    }
  }

  /** Answers the calls of a batch; whether all were answered with an explanation. */
  async #explainTogether(items: readonly WaitingItem[]): Promise<boolean> {
    const started = performance.now();
    const everyoneLeft = new AbortController();
    for (const item of items) {
      item.onAborted = () => {
        if (items.every(({ aborted }) => aborted)) everyoneLeft.abort();
      };
    }
    try {
      const inputs = (items[0]?.inputs ?? []).map((_, position) =>
        items.map((item) => item.inputs[position] as (typeof item.inputs)[number]),
      );
      const whole = await this.#cam.explainParts(inputs, {
        targets: items.flatMap(({ targets }) => targets),
        ...(items[0] as WaitingItem).how,
        onProgress: undefined,
        signal: everyoneLeft.signal,
      });
      if (items.length === 1) {
        this.#shared.learn(items[0] as WaitingItem, whole.outputs);
        this.#statistics.addBatch(items, whole.timings, started);
        answer(items[0] as WaitingItem, whole, started);
        return true;
      }
      const outputs = this.#shared.partsOf(items, whole.outputs);
      if (outputs === null) {
        whole.dispose();
        await this.#explainEach(items, true);
        return true;
      }
      this.#statistics.addBatch(items, whole.timings, started);
      const batch = items.reduce((sum, { images }) => sum + images, 0);
      let start = 0;
      for (const [index, item] of items.entries()) {
        answer(item, whole.ofImages(start, item.images, batch, outputs[index] ?? null), started);
        start += item.images;
      }
      whole.dispose();
      return true;
    } catch (error) {
      if (items.length > 1) await this.#explainEach(items, (items[0]?.inputs.length ?? 0) > 1);
      else if (!items[0]?.aborted) {
        this.#statistics.failed++;
        items[0]?.reject(error);
      }
      return false;
    }
  }

  /**
   * The calls of a batch each once more, alone: whose fault a failure is, or whose an output, cannot be told from the batch.
   * @param mayForbid - whether such calls run alone from now on if each of these succeeds and nothing is learned from them
   */
  async #explainEach(items: readonly WaitingItem[], mayForbid: boolean): Promise<void> {
    const [first] = items as readonly [WaitingItem];
    const known = this.#shared.known(first);
    let allSucceed = true;
    for (const item of items) {
      if (item.aborted || !(await this.#explainTogether([item]))) allSucceed = false;
    }
    if (mayForbid && allSucceed && this.#shared.known(first) === known) this.#shared.forbid(first);
  }

  #settleIfIdle(): void {
    if (this.#waiting.images > 0) return;
    clearTimeout(this.#delay); // It would keep the process from ending.
    if (!this.#disposed || this.#runningBatches > 0) return;
    for (const resolve of this.#whenIdle.splice(0)) resolve();
  }
}

function answer(item: WaitingItem, part: Explanation, started: number): void {
  if (item.aborted) {
    part.dispose();
    return;
  }
  const queue = part.timings.queue + started - item.since;
  item.resolve(new Explanation({ ...part, timings: { ...part.timings, queue } }));
}

function camOf({
  cam,
  method,
  options,
  ...common
}: Partial<ExplainerOptions & CamExplainerOptions>): BaseCAM {
  if (cam === undefined) return createCam(common as CAMOptions, { method, options });
  if (!(cam instanceof BaseCAM)) throw invalidArgumentType('cam', 'a CAM method, such as new GradCAM()', cam);
  const given = Object.entries({ method, options, ...common }).find(([, value]) => value !== undefined);
  if (given) throw invalidArgumentType(given[0], 'nothing beside a cam, which has it', given[1]);
  return cam;
}

function checkNumber(name: string, value: unknown, least: number, most: number, integer: boolean): number {
  if (typeof value !== 'number') throw invalidArgumentType(name, 'a number', value);
  if (!(value >= least && value <= most) || (integer && !Number.isInteger(value)))
    throw argumentOutOfRange(name, `${integer ? 'an integer' : 'a number'} from ${least} to ${most}`, value);
  return value;
}
