import { setThreads, threads } from '../../addon/threads.js';

/** Maps on their way that keep an executor busy. */
const perExecutor = 8;
/** How long less must be on its way before there are fewer executors. */
const calmMs = 500;

/**
 * Divides the process's cores by what is on its way: alone, a request has all of an executor's threads and the shortest
 * answer; of many, more are computed at once with fewer threads each, which wastes less time in waiting for one another.
 */
export class ExecutorsByLoad {
  /** What the process had, and has again when little is on its way. */
  readonly #quiet = threads();
  readonly #cores: number;
  #executors: number;
  #calmSince: number | undefined;
  #calming: NodeJS.Timeout | undefined;
  #pending = 0;

  constructor() {
    this.#cores = this.#quiet.executors * this.#quiet.intraOpThreads;
    this.#executors = this.#quiet.executors;
  }

  /** @param pending - maps on their way */
  update(pending: number): void {
    this.#pending = pending;
    const wanted = this.#wanted;
    if (wanted >= this.#executors) this.#calmSince = undefined;
    if (wanted > this.#executors) this.#divide(wanted);
    if (wanted < this.#executors) this.#calm();
  }

  get #wanted(): number {
    const busy = Math.min(this.#cores, Math.floor(this.#pending / perExecutor));
    return Math.max(this.#quiet.executors, busy);
  }

  #calm(): void {
    this.#calmSince ??= performance.now();
    this.#calming ??= setTimeout(() => {
      this.#calming = undefined;
      if (this.#calmSince === undefined) return;
      if (performance.now() - this.#calmSince >= calmMs) this.#divide(this.#wanted);
      else this.#calm();
    }, calmMs).unref();
  }

  #divide(executors: number): void {
    this.#calmSince = undefined;
    this.#executors = executors;
    setThreads({ executors, intraOpThreads: Math.max(1, Math.floor(this.#cores / executors)) });
  }

  /** Leaves the threads as they were found, where it changed them. */
  close(): void {
    clearTimeout(this.#calming);
    if (this.#executors !== this.#quiet.executors) setThreads(this.#quiet);
  }
}
