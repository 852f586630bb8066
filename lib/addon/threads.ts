import { argumentOutOfRange } from '../errors/errors.js';
import { readOptions } from '../errors/options.js';
import { native } from './addon.js';

export interface ThreadOptions {
  /** Threads that run jobs, one job each: that many explains are computed at once. */
  readonly executors?: number;
  /** Threads that LibTorch uses inside one job. */
  readonly intraOpThreads?: number;
}

/**
 * The threads of this process, all models and worker threads of Node included. At first there is one executor for
 * every eight cores the process may use (by its affinity, its container's quota and OMP_NUM_THREADS), and the cores
 * are divided among them. No thread of libuv's pool is ever used.
 */
export function threads(): Required<ThreadOptions> {
  return native().threads();
}

/**
 * Changes the number of threads, from the next job on; what is left out stays. More executors raise the throughput of
 * many small jobs, more intra-op threads lower the time of each; their product should not exceed the number of cores.
 * @throws {RangeError} `ERR_OUT_OF_RANGE` unless integers from 1 to 1024
 * @throws {TypeError} `ERR_UNKNOWN_OPTION`
 */
export function setThreads(options: ThreadOptions): void {
  const given = readOptions<ThreadOptions>('setThreads options', options, ['executors', 'intraOpThreads']);
  const { executors, intraOpThreads } = { ...threads(), ...given };
  for (const [name, count] of Object.entries({ executors, intraOpThreads })) {
    if (!Number.isInteger(count) || count < 1 || count > 1024)
      throw argumentOutOfRange(name, 'an integer from 1 to 1024', count);
  }
  native().setThreads(executors, intraOpThreads);
}
