import type { StageTimings } from '../addon/addon.js';
import type { WaitingItem } from './waiting-images.js';

/** Counters of an Explainer since it was made. Times are in milliseconds. */
export interface ExplainerCounters {
  /** Calls that were accepted. */
  readonly requests: number;
  /** Calls that were refused because too many waited. */
  readonly refused: number;
  /** Calls that failed, and calls that were aborted by their signal. */
  readonly failed: number;
  readonly aborted: number;
  /** Batches computed, the images in them, and how many on average. */
  readonly batches: number;
  readonly images: number;
  readonly meanBatchSize: number;
  /** From a call to the start of its batch on an executor, on average. */
  readonly meanQueueTime: number;
  /** On an executor, of one batch, on average. */
  readonly meanComputeTime: number;
  /** Images that wait, and batches that are computed, at this moment. */
  readonly waiting: number;
  readonly running: number;
}

/** @internal */
export class ExplainerStatistics {
  requests = 0;
  refused = 0;
  failed = 0;
  aborted = 0;
  #batches = 0;
  #calls = 0;
  #images = 0;
  #queueTime = 0;
  #computeTime = 0;

  addBatch(
    items: readonly Pick<WaitingItem, 'images' | 'since'>[],
    timings: StageTimings,
    started: number,
  ): void {
    this.#batches++;
    this.#calls += items.length;
    for (const { images, since } of items) {
      this.#images += images;
      this.#queueTime += started - since + timings.queue;
    }
    this.#computeTime += timings.plan + timings.forward + timings.backward + timings.cam;
  }

  read(waiting: number, running: number): ExplainerCounters {
    const mean = (total: number, count: number) => (count === 0 ? 0 : total / count);
    return {
      requests: this.requests,
      refused: this.refused,
      failed: this.failed,
      aborted: this.aborted,
      batches: this.#batches,
      images: this.#images,
      meanBatchSize: mean(this.#images, this.#batches),
      meanQueueTime: mean(this.#queueTime, this.#calls),
      meanComputeTime: mean(this.#computeTime, this.#batches),
      waiting,
      running,
    };
  }
}
