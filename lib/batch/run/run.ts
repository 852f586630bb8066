import { checkDevice } from '../../model/load-model.js';
import { collectSubmitted } from '../output/collect.js';
import { writeChunkList, writeSpecification } from '../output/folder.js';
import { type BatchOptions, checkBatchOptions, checkInteger } from '../preparation/options.js';
import { PreparedBatch, tryOut } from '../preparation/prepared-batch.js';
import { FoundChunks } from './found-chunks.js';
import { lockBatch } from './lock.js';
import { type RunTotals, runChunks } from './run-chunks.js';
import type { RunEvent } from './run-event.js';
import { SessionWhenNeeded } from './session-when-needed.js';

export interface RunBatchOptions extends BatchOptions {
  /** Chunks at once. Default 1; the images of a chunk are explained in batches anyway. */
  readonly concurrency?: number;
  /** Images in one forward, at most. Default 8. */
  readonly batchSize?: number;
  readonly onEvent?: (event: RunEvent) => void;
}

/** What a batch came to. */
export interface BatchRunReport extends RunTotals {
  readonly batch: string;
  /** Absolute, as is `manifest`. */
  readonly output: string;
  /** A line for each picture of every batch in the output folder. */
  readonly manifest: string;
  readonly chunks: number;
  /** Of the chunks those that an earlier run had finished. */
  readonly chunksDone: number;
  readonly images: number;
}

/**
 * Explains very many pictures in this process, without a queue: what `submitBatch`, a worker and `collectManifest` do. The
 * same options are the same batch, also for these, and running it again does only what is missing, however the run before
 * ended.
 * @throws {GradCamError} `ERR_MODEL_NOT_FOUND`, `ERR_MODEL_LOAD`, `ERR_BATCH_FOLDER`, `ERR_BATCH_RUNNING`, `ERR_BATCH_CHANGED`,
 *   `ERR_SIDECAR`, `ERR_UNKNOWN_LABEL`, `ERR_IMAGE_LOAD` for a folder that cannot be read, `ERR_CUDA_UNAVAILABLE`,
 *   `ERR_CUDA_FAILED`, and what trying out the first picture meets
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
 * @example await runBatch({ model: 'model.pt', images: ['photos'], output: 'out' });
 */
export async function runBatch(options: RunBatchOptions): Promise<BatchRunReport> {
  const given = checkBatchOptions(options, ['concurrency', 'batchSize', 'onEvent']);
  const { concurrency = 1, batchSize = 8, attempts = 3, device, signal, onEvent = () => {} } = given;
  checkInteger('concurrency', concurrency, 1024);
  checkInteger('batchSize', batchSize, 1024);
  if (device !== undefined) checkDevice(device);
  await using batch = await PreparedBatch.of(given);
  const { id, folder, specification } = batch;
  await using _ = await lockBatch(id, folder);
  await using found = await FoundChunks.of(batch, (counts) => onEvent({ kind: 'found', ...counts }));
  await using session = new SessionWhenNeeded(specification, {
    batchSize,
    ...(device === undefined ? {} : { device }),
    ...(signal === undefined ? {} : { signal }),
  });
  if (found.first && (given.tryOut ?? true)) await tryOut(await session.open(), found.first);
  await writeSpecification(folder, id, specification);
  await writeChunkList(folder, id, found.sizes);
  const { images, imagesDone, chunksDone } = found;
  onEvent({ kind: 'started', batch: id, images, imagesDone });
  const done = await runChunks(session, found, { concurrency, attempts, signal, onEvent });
  const { manifest } = await collectSubmitted(folder);
  return {
    batch: id,
    output: folder,
    manifest,
    chunks: found.sizes.size,
    chunksDone,
    images,
    ...done,
  };
}
