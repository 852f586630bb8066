import type { StageTimings } from '../addon/addon.js';
import { threads } from '../addon/threads.js';
import { GradCamError } from '../errors/errors.js';
import { disposeOutput, type ModelOutput } from '../model/output.js';
import { SharedBatches } from './shared-batches.js';
import { type ExplainerCounters, ExplainerStatistics } from './statistics.js';
import { WaitingImages, type WaitingItem } from './waiting-images.js';

/** What is computed of a batch, and what each of its calls gets of it. */
export interface BatchResult<Result> {
  readonly outputs: ModelOutput;
  readonly timings: StageTimings;
  /** What belongs to some images, to be disposed of on its own. */
  ofImages(start: number, length: number, batch: number, outputs: ModelOutput): Result;
  /** The same after a wait of so many milliseconds more. */
  waited(milliseconds: number): Result;
  dispose(): void;
}

/** @internal What a queue does with the calls that it has put together. */
export interface BatchWork<How, Result> {
  /** Whether images of several calls must not share a batch, as far as is known. */
  readonly runsImagesAlone: () => boolean;
  /** How many images a batch must have, where the model takes no other number; as far as is known. */
  readonly exactBatch: () => number | null;
  /** What is to be done with the last image of a call. */
  readonly howOfLast: (how: How) => How;
  /** Of each of the model's inputs the tensors of the calls, which agree in what is to be done. */
  readonly compute: (items: readonly WaitingItem<How, Result>[], signal: AbortSignal) => Promise<Result>;
}

/** @internal */
export interface BatchLimits {
  readonly maxBatch: number;
  readonly maxDelayMs: number;
  readonly maxQueue: number;
}

/**
 * @internal Calls that wait, and the batches that are made of them. A call that fails, fails alone; each is a batch of its own
 * where its outputs could not be told from those of others.
 */
export class BatchQueue<How, Result extends BatchResult<Result>> {
  readonly #work: BatchWork<How, Result>;
  readonly #limits: BatchLimits;
  readonly #waiting = new WaitingImages<WaitingItem<How, Result>>();
  readonly #shared = new SharedBatches();
  readonly #statistics = new ExplainerStatistics();
  #runningBatches = 0;
  #scheduled: NodeJS.Immediate | undefined;
  #delay: NodeJS.Timeout | undefined;
  #disposed = false;
  #whenIdle: (() => void)[] = [];

  constructor(work: BatchWork<How, Result>, limits: BatchLimits) {
    this.#work = work;
    this.#limits = limits;
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  /** @throws {GradCamError} `ERR_BUSY` when there is no room for so many images */
  checkRoom(images: number): void {
    const { maxQueue } = this.#limits;
    if (this.#waiting.images + images > maxQueue && this.#waiting.images > 0) {
      this.#statistics.refused++;
      throw new GradCamError(
        'ERR_BUSY',
        `${this.#waiting.images} images wait already, and at most ${maxQueue} may (maxQueue). Try again later.`,
      );
    }
    this.#statistics.requests++;
  }

  /** Answers a call, for which there is room. Its tensors must stay until then. */
  add(
    call: Pick<WaitingItem<How, Result>, 'inputs' | 'images' | 'how' | 'compatibility'>,
    signal: AbortSignal | undefined,
  ): Promise<Result> {
    return new Promise<Result>((resolve, reject) => {
      const item: WaitingItem<How, Result> = {
        ...call,
        images: Math.max(1, call.images), // one without images has its failure to wait for
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

  #rejectOnAbort(item: WaitingItem<How, Result>, signal: AbortSignal): void {
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
    item.resolve = (result) => {
      stopListening();
      resolve(result);
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
  #nextBatch(): WaitingItem<How, Result> | number | null {
    const oldest = this.#waiting.oldest;
    const [first] = oldest;
    const isFull = (item: WaitingItem<How, Result>) =>
      this.#waiting.imagesLike(item) >= this.#mostTogether(item);
    const remainingDelay = (first?.since ?? 0) + this.#limits.maxDelayMs - performance.now();
    // One full batch more than runs, so that no executor waits for the event loop; what is not full may still fill.
    const { executors } = threads();
    if (this.#runningBatches > executors) return null;
    const full = first && isFull(first) ? first : oldest.find(isFull);
    if (this.#runningBatches === executors && full === undefined) return null;
    if (first && remainingDelay <= 0) return first;
    return full ?? remainingDelay;
  }

  /** A batch of one call where calls must not share one. */
  #mostTogether(item: WaitingItem<How, Result>): number {
    if (this.#work.runsImagesAlone() || !this.#shared.mayShare(item)) return 1;
    return this.#work.exactBatch() ?? this.#limits.maxBatch;
  }

  /** How many images a batch lacks of those that the model takes. */
  #missingImages(items: readonly WaitingItem<How, Result>[]): number {
    return Math.max(0, (this.#work.exactBatch() ?? 0) - items.reduce((sum, { images }) => sum + images, 0));
  }

  /** Copies of the last image, which nobody waits for, as many as the batch lacks. */
  #copiesOfLast(items: readonly WaitingItem<How, Result>[]): WaitingItem<How, Result>[] {
    const missing = this.#missingImages(items);
    const last = items.at(-1);
    if (missing === 0 || !last) return [];
    const copy: WaitingItem<How, Result> = {
      ...last,
      inputs: last.inputs.map((tensor) => tensor.narrow((tensor.shape[0] ?? 1) - 1, 1)),
      images: 1,
      how: this.#work.howOfLast(last.how),
      resolve: (result) => result.dispose(),
      reject: () => {},
      aborted: false,
      onAborted: null,
    };
    return Array.from({ length: missing }, () => copy);
  }

  async #run(items: readonly WaitingItem<How, Result>[]): Promise<void> {
    this.#runningBatches++;
    try {
      await this.#computeTogether(items);
    } finally {
      this.#runningBatches--;
      this.#startBatches();
      this.#settleIfIdle();
    }
  }

  /** Answers the calls of a batch; whether all were answered with a result. */
  async #computeTogether(items: readonly WaitingItem<How, Result>[]): Promise<boolean> {
    const copies = this.#copiesOfLast(items);
    const started = performance.now();
    const everyoneLeft = new AbortController();
    for (const item of items) {
      item.onAborted = () => {
        if (items.every(({ aborted }) => aborted)) everyoneLeft.abort();
      };
    }
    try {
      const whole = await this.#work.compute([...items, ...copies], everyoneLeft.signal);
      if (items.length === 1 && copies.length === 0) {
        if (!this.#work.runsImagesAlone())
          this.#shared.learn(items[0] as WaitingItem<How, Result>, whole.outputs);
        this.#statistics.addBatch(items, whole.timings, started);
        answer(items[0] as WaitingItem<How, Result>, whole, started);
        return true;
      }
      const outputs = this.#shared.partsOf([...items, ...copies], whole.outputs);
      if (outputs === null) {
        whole.dispose();
        if (copies.length > 0 && items.length === 1) throw cannotFill(items[0]?.images ?? 0);
        await this.#computeEach(items, true);
        return true;
      }
      this.#statistics.addBatch(items, whole.timings, started);
      const batch = [...items, ...copies].reduce((sum, { images }) => sum + images, 0);
      let start = 0;
      for (const [index, item] of items.entries()) {
        answer(item, whole.ofImages(start, item.images, batch, outputs[index] ?? null), started);
        start += item.images;
      }
      for (const rest of outputs.slice(items.length)) disposeOutput(rest);
      whole.dispose();
      return true;
    } catch (error) {
      // It may have been found out only now how many images the model takes.
      if (copies.length === 0 && this.#missingImages(items) > 0) return await this.#computeTogether(items);
      if (items.length > 1) await this.#computeEach(items, (items[0]?.inputs.length ?? 0) > 1);
      else if (!items[0]?.aborted) {
        this.#statistics.failed++;
        items[0]?.reject(error);
      }
      return false;
    } finally {
      for (const tensor of copies[0]?.inputs ?? []) tensor.dispose();
    }
  }

  /**
   * The calls of a batch each once more, alone: whose fault a failure is, or whose an output, cannot be told from the batch.
   * @param mayForbid - whether such calls run alone from now on if each of these succeeds and nothing is learned from them
   */
  async #computeEach(items: readonly WaitingItem<How, Result>[], mayForbid: boolean): Promise<void> {
    const [first] = items as readonly [WaitingItem<How, Result>];
    const known = this.#shared.known(first);
    let allSucceed = true;
    for (const item of items) {
      if (item.aborted || !(await this.#computeTogether([item]))) allSucceed = false;
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

function cannotFill(images: number): GradCamError {
  return new GradCamError(
    'ERR_INPUT_SHAPE',
    `The model takes another number of images than ${images}, and what it gives for some of them cannot be told apart.`,
  );
}

function answer<Result extends BatchResult<Result>>(
  item: WaitingItem<unknown, Result>,
  part: Result,
  started: number,
): void {
  if (item.aborted) part.dispose();
  else item.resolve(part.waited(started - item.since));
}
