import { setMaxListeners } from 'node:events';
import { hostname } from 'node:os';
import type { Job } from 'bullmq';
import { argumentOutOfRange, invalidArgumentType } from '../../errors/errors.js';
import { abortWith, checkSignal, readOptions } from '../../errors/options.js';
import { checkDevice } from '../../model/load-model.js';
import type { SessionOptions } from '../explaining/explain-session.js';
import { faultOf, reasonOf } from '../explaining/faults.js';
import { type ChunkOfBatch, findFinished, finishChunk } from '../explaining/finish-chunk.js';
import { Roots } from '../explaining/roots.js';
import { Sessions } from '../explaining/sessions.js';
import { chunkManifestPath } from '../output/folder.js';
import type { ChunkSummary } from '../output/summary.js';
import { checkSecret, chunkOfJob, type JobData, type Secret } from '../queue/jobs.js';
import { cancelledSummary, Ledger } from '../queue/ledger.js';
import { type BatchQueueOptions, checkAddress, connect, keyPrefix } from '../queue/redis.js';

export interface BatchWorkerOptions extends BatchQueueOptions, SessionOptions {
  /** Chunks at once. Default 1; the images of a chunk are explained in batches anyway. */
  readonly concurrency?: number;
  /**
   * A worker that was not heard from for so long, in milliseconds, is taken for dead, and another one takes its chunk.
   * Default 30,000.
   */
  readonly takeOverAfter?: number;
  /**
   * Folders that bound what this worker reads and writes: pictures, models (but for `model`), the output. Links are followed
   * first. A chunk that leaves them is failed. Default: nothing is bounded.
   */
  readonly roots?: readonly string[];
  /** Take only chunks that were submitted with this secret, of 16 bytes or more; others are failed. Default: take all. */
  readonly secret?: string | Uint8Array;
  /** End when no chunk waits, runs or is to be tried again, and none is being submitted. Default false: wait for more. */
  readonly exitWhenDone?: boolean;
  /** Ends the worker: it gives its chunk back, of which what is done stays done. */
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: WorkerEvent) => void;
}

/** What a worker tells as it goes. */
export type WorkerEvent =
  /** Redis was reached. */
  | { readonly kind: 'ready' }
  | { readonly kind: 'progress'; readonly chunk: string; readonly done: number; readonly images: number }
  | { readonly kind: 'finished'; readonly chunk: string; readonly summary: ChunkSummary }
  | { readonly kind: 'failed'; readonly chunk: string; readonly reason: string; readonly willRetry: boolean }
  /** A chunk of a worker that is gone waits again. */
  | { readonly kind: 'taken-back'; readonly chunk: string }
  /** A chunk that another worker had when its batch was cancelled; it is dropped. */
  | { readonly kind: 'cancelled'; readonly chunk: string }
  /** Most often that Redis is away; the worker goes on trying. */
  | { readonly kind: 'trouble'; readonly message: string };

/** What a worker did. */
export interface BatchWorkerReport {
  readonly chunks: number;
  readonly images: number;
  /** Images that could not be explained. */
  readonly failed: number;
}

/** A chunk whose workers were lost more often than this is failed: it may well be what ends them. */
const mostLosses = 2;

/** Milliseconds that an ending worker waits for a Redis that is away. */
const mostPatience = 5_000;

/**
 * Takes chunks from the queue and explains them, until `signal` is aborted, the work is done (`exitWhenDone`) or this
 * worker cannot go on. Any number of workers, on any machines that see the same files, may share a queue.
 * @throws {GradCamError} `ERR_REDIS` if it cannot be reached at the start; `ERR_BATCH_VERSION`, `ERR_BATCH_FOLDER`,
 *   `ERR_BATCH_MODEL`, `ERR_MODEL_NOT_FOUND`, `ERR_MODEL_LOAD`, `ERR_CUDA_UNAVAILABLE`, `ERR_CUDA_FAILED`, `ERR_ADDON_LOAD` where this
 *   worker cannot do a chunk, which it gives back first
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
 */
export async function runBatchWorker(options?: BatchWorkerOptions): Promise<BatchWorkerReport> {
  const given = checkWorkerOptions(options);
  const address = checkAddress(given);
  const secret = checkSecret(given.secret);
  const roots = await Roots.of(given.roots);
  const { Queue, Worker } = await import('bullmq');
  const redis = await connect(address, { patient: true });
  const ledger = new Ledger(redis, address.queue);
  const chunks = new ChunkWorker(given, ledger, roots, secret);
  const queueOptions = { connection: redis, prefix: keyPrefix };
  const worker = new Worker<JobData, ChunkSummary>(
    address.queue,
    (job, token, lost) => chunks.process(job, token, lost),
    {
      ...queueOptions,
      name: `${hostname()}.${process.pid}`,
      autorun: false,
      concurrency: given.concurrency,
      lockDuration: given.takeOverAfter,
      stalledInterval: given.takeOverAfter / 2,
      maxStalledCount: mostLosses,
    },
  );
  const queue = new Queue(address.queue, queueOptions);
  queue.on('error', () => {}); // The worker has the same connection and tells.
  const { onEvent } = given;
  worker.on('error', ({ message }) => onEvent({ kind: 'trouble', message }));
  worker.on('stalled', (chunk) => onEvent({ kind: 'taken-back', chunk }));
  worker.on('failed', (job, { message: reason }) => {
    const willRetry = job !== undefined && job.finishedOn === undefined;
    onEvent({ kind: 'failed', chunk: job?.id ?? '', reason, willRetry });
  });
  // The chunk is another worker's now.
  worker.on('lockRenewalFailed', (ids) => {
    for (const id of ids) worker.cancelJob(id);
  });
  onEvent({ kind: 'ready' });
  const { stop } = chunks;
  const unlink = abortWith(stop, given.signal);
  const watch = given.exitWhenDone ? setInterval(() => void endIfDone(), 500) : undefined;
  const endIfDone = async () => {
    try {
      // Asked in this order: what a submission has queued when it ends is counted.
      if ((await ledger.submissions()) > 0) return;
      const counts = await queue.getJobCounts('wait', 'prioritized', 'active', 'delayed');
      if (Object.values(counts).every((count) => count === 0)) stop.abort();
    } catch {} // Redis is away, which the worker tells.
  };
  try {
    const stopped = new Promise<void>((resolve) => {
      if (stop.signal.aborted) resolve();
      stop.signal.addEventListener('abort', () => resolve(), { once: true });
    });
    if (!stop.signal.aborted) worker.run().catch((error: Error) => chunks.fail(error));
    await stopped;
  } finally {
    clearInterval(watch);
    unlink();
    // Without Redis the chunk cannot be given back; it is taken over like that of a dead worker.
    const patience = setTimeout(() => redis.disconnect(), mostPatience);
    await worker.close().catch(() => {});
    await queue.close().catch(() => {});
    clearTimeout(patience);
    await chunks[Symbol.asyncDispose]();
    redis.disconnect();
  }
  if (chunks.failure !== undefined) throw chunks.failure;
  return chunks.report;
}

/** What a worker does with a chunk. */
class ChunkWorker implements AsyncDisposable {
  readonly stop = new AbortController();
  readonly #options: CheckedOptions;
  readonly #ledger: Ledger;
  readonly #sessions: Sessions;
  readonly #roots: Roots;
  readonly #secret: Secret | null;
  report: BatchWorkerReport = { chunks: 0, images: 0, failed: 0 };
  failure: unknown;

  constructor(options: CheckedOptions, ledger: Ledger, roots: Roots, secret: Secret | null) {
    this.#options = options;
    this.#ledger = ledger;
    this.#roots = roots;
    this.#secret = secret;
    const { device, batchSize, model } = options;
    const sessionOptions = {
      ...(device === undefined ? {} : { device }),
      ...(batchSize === undefined ? {} : { batchSize }),
      ...(model === undefined ? {} : { model }),
    };
    this.#sessions = new Sessions(sessionOptions, roots);
  }

  /** Ends the worker with a failure. */
  fail(error: unknown): void {
    this.failure ??= error;
    this.stop.abort();
  }

  async process(job: Job<JobData>, token?: string, lost?: AbortSignal): Promise<ChunkSummary> {
    const { UnrecoverableError, WaitingError } = await import('bullmq');
    const controller = new AbortController();
    const { signal } = controller;
    setMaxListeners(0, signal); // Every image in hand listens.
    const unlink = abortWith(controller, this.stop.signal, lost);
    try {
      const chunk = chunkOfJob(job.id ?? '', job.data, this.#secret);
      // Its worker had it when the batch was cancelled, and is gone.
      if (await this.#ledger.isCancelled(chunk.batch)) {
        this.#options.onEvent({ kind: 'cancelled', chunk: chunk.id });
        return cancelledSummary;
      }
      const summary = await this.#finish(chunk, job, signal);
      const { chunks, images, failed } = this.report;
      this.report = {
        chunks: chunks + 1,
        images: images + summary.images,
        failed: failed + summary.failed,
      };
      this.#options.onEvent({ kind: 'finished', chunk: chunk.id, summary });
      return summary;
    } catch (error) {
      const fault = faultOf(error);
      if (fault === 'place') this.fail(error);
      if (fault === 'place' || this.stop.signal.aborted) {
        await job.moveToWait(token);
        throw new WaitingError();
      }
      if (fault === 'lasting') throw new UnrecoverableError(reasonOf(error));
      throw error;
    } finally {
      unlink();
    }
  }

  async #finish(chunk: ChunkOfBatch, job: Job<JobData>, signal: AbortSignal): Promise<ChunkSummary> {
    const { batch, digest, folder, id, files } = chunk;
    await this.#roots.admit(chunkManifestPath(folder, batch, id));
    const earlier = await findFinished(chunk);
    if (earlier) {
      if (!(await this.#ledger.isFinished(batch, id)))
        await this.#ledger.finishChunk(batch, id, earlier.summary);
      return earlier.summary;
    }
    return await this.#sessions.with(folder, digest, async (session) => {
      let toldAt = 0;
      const { summary } = await finishChunk(session, chunk, signal, (done) => {
        this.#options.onEvent({ kind: 'progress', chunk: id, done, images: files.length });
        if (Date.now() - toldAt < 1000) return;
        toldAt = Date.now();
        job.updateProgress({ done }).catch(() => {}); // Only told to people.
      });
      await this.#ledger.finishChunk(batch, id, summary);
      return summary;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sessions[Symbol.asyncDispose]();
  }
}

type CheckedOptions = BatchWorkerOptions &
  Required<Pick<BatchWorkerOptions, 'concurrency' | 'takeOverAfter' | 'roots' | 'onEvent'>>;

function checkWorkerOptions(options: BatchWorkerOptions | undefined): CheckedOptions {
  const given = readOptions<BatchWorkerOptions>('worker options', options, [
    'redis',
    'queue',
    'device',
    'batchSize',
    'model',
    'concurrency',
    'takeOverAfter',
    'roots',
    'secret',
    'exitWhenDone',
    'signal',
    'onEvent',
  ]);
  checkSignal(given.signal);
  if (given.device !== undefined) checkDevice(given.device);
  const { concurrency = 1, takeOverAfter = 30_000, batchSize = 8, roots = [], onEvent = () => {} } = given;
  const integers = { concurrency, batchSize };
  for (const [name, value] of Object.entries(integers)) {
    if (!Number.isInteger(value) || value < 1 || value > 1024)
      throw argumentOutOfRange(name, 'an integer from 1 to 1024', value);
  }
  if (!(takeOverAfter >= 1000 && takeOverAfter <= 86_400_000))
    throw argumentOutOfRange('takeOverAfter', 'milliseconds, from 1000 to 86,400,000', takeOverAfter);
  if (!Array.isArray(roots) || roots.some((folder) => typeof folder !== 'string'))
    throw invalidArgumentType('roots', 'an array of paths', roots);
  return { ...given, concurrency, takeOverAfter, batchSize, roots, onEvent };
}
