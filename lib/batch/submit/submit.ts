import type { JobsOptions } from 'bullmq';
import { ExplainSession } from '../explaining/explain-session.js';
import { type ChunkOfBatch, findFinished } from '../explaining/finish-chunk.js';
import { writeChunkList, writeSpecification } from '../output/folder.js';
import { type BatchOptions, checkBatchOptions } from '../preparation/options.js';
import { PreparedBatch, tryOut } from '../preparation/prepared-batch.js';
import { checkSecret, jobOf, type Secret } from '../queue/jobs.js';
import { type BatchHeader, Ledger } from '../queue/ledger.js';
import { type BatchQueueOptions, checkAddress, OpenQueue, orRedisError } from '../queue/redis.js';
import type { Chunk } from '../specification/chunks.js';
import { canonicalJson } from '../specification/specification.js';

export interface SubmitBatchOptions extends BatchOptions, BatchQueueOptions {
  /** Signs the chunks, for workers with the same secret: 16 bytes or more. Default: they are not signed. */
  readonly secret?: string | Uint8Array;
  /** Called as pictures are found. */
  readonly onProgress?: (found: { readonly images: number; readonly chunks: number }) => void;
}

/** What was submitted. */
export interface SubmittedBatch {
  readonly batch: string;
  /** Absolute. */
  readonly output: string;
  readonly images: number;
  readonly chunks: number;
  /** Of the chunks those that had been finished before. */
  readonly chunksDone: number;
  /** Of the chunks those that waited or ran already. */
  readonly chunksQueued: number;
}

/** Chunks that are looked up and put into the queue at once. */
const groupSize = 32;

/**
 * Puts a job over many pictures into the queue, in chunks. Submitting the same again does nothing twice: finished chunks
 * stay finished, waiting ones wait once, failed ones are tried again, and pictures that came or changed since are added.
 * @throws {GradCamError} `ERR_REDIS`, `ERR_MODEL_NOT_FOUND`, `ERR_BATCH_FOLDER`, `ERR_SIDECAR`, `ERR_UNKNOWN_LABEL`,
 *   `ERR_IMAGE_LOAD` for a folder that cannot be read, and what trying out the first picture meets
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
 * @example await submitBatch({ model: 'model.pt', images: ['photos'], output: 'out' });
 */
export async function submitBatch(options: SubmitBatchOptions): Promise<SubmittedBatch> {
  const given = checkBatchOptions(options, ['redis', 'queue', 'secret', 'onProgress']);
  const address = checkAddress(given);
  const secret = checkSecret(given.secret);
  const { attempts = 3, onProgress, signal } = given;
  await using open = await OpenQueue.open(address);
  const ledger = new Ledger(open.client, address.queue);
  try {
    await using _ = await ledger.announceSubmission();
    await using batch = await PreparedBatch.of(given);
    const submission = new Submission(open, ledger, batch, secret, attempts);
    await submission.enrol();
    let group: Chunk[] = [];
    for await (const chunk of batch.chunks()) {
      signal?.throwIfAborted();
      if (submission.counts.chunks === 0) {
        if (given.tryOut ?? true) await tryFirst(batch, chunk, given);
        await submission.begin();
      }
      submission.list(chunk);
      group.push(chunk);
      if (group.length === groupSize) {
        await Promise.all(group.map((each) => submission.enqueue(each)));
        group = [];
      }
      onProgress?.(submission.counts);
    }
    await Promise.all(group.map((each) => submission.enqueue(each)));
    await submission.end();
    return { batch: batch.id, output: batch.folder, ...submission.counts };
  } catch (error) {
    throw orRedisError(address, error);
  }
}

async function tryFirst(
  { specification }: PreparedBatch,
  chunk: Chunk,
  { device, signal }: BatchOptions,
): Promise<void> {
  await using session = await ExplainSession.open(specification, {
    ...(device === undefined ? {} : { device }),
    ...(signal === undefined ? {} : { signal }),
  });
  await tryOut(session, chunk);
}

/** What is put into the queue, the output folder and the ledger for a batch. */
class Submission {
  readonly counts = { images: 0, chunks: 0, chunksDone: 0, chunksQueued: 0 };
  readonly #open: OpenQueue;
  readonly #ledger: Ledger;
  readonly #batch: PreparedBatch;
  readonly #secret: Secret | null;
  readonly #jobOptions: JobsOptions;
  readonly #chunks = new Map<string, number>();
  #number = 0;
  #header: BatchHeader | undefined;

  constructor(
    open: OpenQueue,
    ledger: Ledger,
    batch: PreparedBatch,
    secret: Secret | null,
    attempts: number,
  ) {
    this.#open = open;
    this.#ledger = ledger;
    this.#batch = batch;
    this.#secret = secret;
    this.#jobOptions = {
      attempts,
      backoff: { type: 'exponential', delay: 1000 },
      // For dashboards; what is done is known from the output folder.
      removeOnComplete: { count: 1000 },
    };
  }

  /** Before the first file is looked for. */
  async enrol(): Promise<void> {
    this.#number = await this.#ledger.beginSubmission(this.#batch.id);
  }

  async begin(): Promise<void> {
    const { id, folder, specification } = this.#batch;
    await writeSpecification(folder, id, specification);
    this.#header = {
      model: specification.model.path,
      method: specification.method,
      folder,
      submittedAt: Date.now(),
      complete: false,
    };
    await this.#ledger.openBatch(id, this.#number, this.#header);
  }

  list({ id, files }: Chunk): void {
    this.#chunks.set(id, files.length);
    this.counts.images += files.length;
    this.counts.chunks++;
  }

  async enqueue(chunk: Chunk): Promise<void> {
    const { id: batch, digest, folder } = this.#batch;
    const { id } = chunk;
    const ofBatch: ChunkOfBatch = { ...chunk, batch, digest, folder };
    await this.#ledger.addChunk(batch, id, chunk.files.length);
    const earlier = await findFinished(ofBatch);
    if (earlier) {
      this.counts.chunksDone++;
      if (!(await this.#ledger.isFinished(batch, id)))
        await this.#ledger.finishChunk(batch, id, earlier.summary);
      return;
    }
    const { queue } = this.#open;
    const data = jobOf(ofBatch, this.#secret);
    const state = await queue.getJobState(id);
    // One that is completed without a manifest: the output was deleted.
    if (state === 'completed' || state === 'failed') await queue.remove(id);
    else if (state !== 'unknown') {
      this.counts.chunksQueued++;
      const queued = await queue.getJob(id);
      // Not signed, or with another secret. One that runs cannot be removed.
      if (queued && canonicalJson(queued.data) !== canonicalJson(data))
        await queue.remove(id).catch(() => {});
    }
    await queue.add('explain', data, { ...this.#jobOptions, jobId: id });
  }

  /**
   * Writes the list of chunks, and takes chunks back that an earlier submission had and this one has not. Of several
   * submissions at once the one that began last does so: it has seen the newest files.
   */
  async end(): Promise<void> {
    const { id, folder } = this.#batch;
    if (!(await this.#ledger.isNewest(id, this.#number))) return;
    await writeChunkList(folder, id, this.#chunks);
    for (const chunk of await this.#ledger.chunkNames(id)) {
      if (this.#chunks.has(chunk)) continue;
      await this.#open.queue.remove(chunk).catch(() => {}); // One that runs ends by itself.
      await this.#ledger.dropChunk(id, chunk);
    }
    if (this.#header) await this.#ledger.completeBatch(id, this.#header);
  }
}
