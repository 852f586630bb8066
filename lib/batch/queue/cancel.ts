import { invalidArgumentType } from '../../errors/errors.js';
import { readOptions } from '../../errors/options.js';
import { Ledger } from './ledger.js';
import { type BatchQueueOptions, checkAddress, OpenQueue, orRedisError } from './redis.js';

export interface CancelBatchOptions extends BatchQueueOptions {
  /** Which batch, as `submitBatch` and `batchStatus` name it. Default: all of the queue. */
  readonly batch?: string;
}

export interface CancelledBatches {
  readonly batches: number;
  /** Chunks that will not be done any more. */
  readonly removedChunks: number;
  /** Chunks that run; they are done to their end. */
  readonly runningChunks: number;
}

/**
 * Takes batches out of the queue, and out of its status. What is done stays in the output folder, so that submitting the
 * same again goes on from there.
 * @throws {GradCamError} `ERR_REDIS`
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE` for a batch that the queue does not have; `ERR_UNKNOWN_OPTION`
 */
export async function cancelBatches(options?: CancelBatchOptions): Promise<CancelledBatches> {
  const given = readOptions<CancelBatchOptions>('cancel options', options, ['redis', 'queue', 'batch']);
  const address = checkAddress(given);
  await using open = await OpenQueue.open(address);
  const ledger = new Ledger(open.client, address.queue);
  try {
    const known = await ledger.names();
    if (given.batch !== undefined && !known.includes(given.batch))
      throw invalidArgumentType(
        'batch',
        `a batch of the queue (${known.join(', ') || 'it has none'})`,
        given.batch,
      );
    const batches = given.batch === undefined ? known : [given.batch];
    let removedChunks = 0;
    let runningChunks = 0;
    for (const batch of batches) {
      for (const chunk of (await ledger.chunks(batch)).keys()) {
        const state = await open.queue.getJobState(chunk);
        if (state === 'unknown') continue;
        // A chunk that a worker holds cannot be removed.
        const removed = await open.queue.remove(chunk).catch(() => 0);
        if (removed === 0) runningChunks++;
        else if (state !== 'completed') removedChunks++;
      }
      await ledger.dropBatch(batch);
    }
    return { batches: batches.length, removedChunks, runningChunks };
  } catch (error) {
    throw orRedisError(address, error);
  }
}
