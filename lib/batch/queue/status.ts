import { readOptions } from '../../errors/options.js';
import type { ChunkSummary } from '../output/summary.js';
import { batchId } from '../specification/specification.js';
import { jobSchema } from './jobs.js';
import { Ledger } from './ledger.js';
import { type BatchQueueOptions, checkAddress, OpenQueue, orRedisError } from './redis.js';

/** How far a batch is. */
export interface BatchProgress {
  readonly batch: string;
  readonly model: string;
  readonly method: string;
  readonly output: string;
  /** When it was submitted last, ISO 8601. */
  readonly submittedAt: string;
  /** False while it is being submitted, or where that was interrupted: then submit it again. */
  readonly submissionComplete: boolean;
  readonly chunks: { readonly total: number; readonly done: number };
  readonly images: {
    readonly total: number;
    readonly done: number;
    /** Of those done: */
    readonly computed: number;
    readonly reused: number;
    readonly duplicates: number;
    readonly failed: number;
  };
}

export interface RunningChunk {
  readonly chunk: string;
  readonly batch: string;
  /** Host and process id. */
  readonly worker: string;
  /** Images so far, of so many; told once a second. */
  readonly done: number;
  readonly images: number;
}

export interface FailedChunk {
  readonly chunk: string;
  readonly batch: string;
  readonly images: number;
  readonly attempts: number;
  readonly reason: string;
}

export interface BatchStatus {
  readonly queue: string;
  /** Without its password. */
  readonly redis: string;
  readonly workers: number;
  /** Submissions that are being made: more may come. */
  readonly submissions: number;
  readonly chunks: {
    readonly waiting: number;
    readonly running: number;
    /** Wait to be tried again. */
    readonly delayed: number;
    readonly failed: number;
  };
  /** The images of these are not in the batches' numbers yet. */
  readonly running: readonly RunningChunk[];
  /** Images each second, by the chunks that ended in the last two minutes; null where no chunk ended in them. */
  readonly rate: number | null;
  /** Until all is done at that rate; null where it is not known. */
  readonly secondsLeft: number | null;
  readonly batches: readonly BatchProgress[];
  /** The last ten. `submit` again tries them again. */
  readonly failedChunks: readonly FailedChunk[];
}

const rateWindow = 120_000;
const shownFailures = 10;

/**
 * How far the batches of a queue are.
 * @throws {GradCamError} `ERR_REDIS`
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_UNKNOWN_OPTION`
 */
export async function batchStatus(options?: BatchQueueOptions): Promise<BatchStatus> {
  const address = checkAddress(readOptions<BatchQueueOptions>('status options', options, ['redis', 'queue']));
  await using open = await OpenQueue.open(address);
  const { queue, client } = open;
  const ledger = new Ledger(client, address.queue);
  try {
    const counts = await queue.getJobCounts('wait', 'prioritized', 'active', 'delayed', 'failed');
    const { wait = 0, prioritized = 0, active = 0, delayed = 0, failed = 0 } = counts;
    const batches: BatchProgress[] = [];
    const summaries: ChunkSummary[] = [];
    for (const { batch, ...header } of await ledger.batches()) {
      const chunks = await ledger.chunks(batch);
      const finished = await ledger.finished(batch);
      const done = [...finished.values()];
      summaries.push(...done);
      const sum = (count: (summary: ChunkSummary) => number) =>
        done.reduce((total, each) => total + count(each), 0);
      batches.push({
        batch,
        model: header.model,
        method: header.method,
        output: header.folder,
        submittedAt: new Date(header.submittedAt).toISOString(),
        submissionComplete: header.complete,
        chunks: { total: chunks.size, done: done.length },
        images: {
          total: [...chunks.values()].reduce((total, images) => total + images, 0),
          done: sum(({ images }) => images),
          computed: sum(({ computed }) => computed),
          reused: sum(({ reused }) => reused),
          duplicates: sum(({ duplicates }) => duplicates),
          failed: sum(({ failed }) => failed),
        },
      });
    }
    const running = (await queue.getActive()).map((job) => ({
      chunk: job.id ?? '',
      ...describe(job.data),
      worker: job.processedBy ?? 'unknown',
      done: (job.progress as { done?: number } | null)?.done ?? 0,
    }));
    const rate = rateOf(summaries, Date.now());
    const remaining =
      batches.reduce((total, { images }) => total + images.total - images.done, 0) -
      running.reduce((total, { done }) => total + done, 0);
    return {
      queue: address.queue,
      redis: address.shown,
      workers: await queue.getWorkersCount(),
      submissions: await ledger.submissions(),
      chunks: { waiting: wait + prioritized, running: active, delayed, failed },
      running,
      rate,
      secondsLeft: remaining <= 0 ? 0 : rate ? remaining / rate : null,
      batches,
      failedChunks: (await queue.getFailed(0, shownFailures - 1)).map((job) => ({
        chunk: job.id ?? '',
        ...describe(job.data),
        attempts: job.attemptsMade,
        reason: reasonOf(job.failedReason),
      })),
    };
  } catch (error) {
    throw orRedisError(address, error);
  }
}

/** What a job is for, which may be one that no submission made. */
function describe(data: unknown): { batch: string; images: number } {
  const parsed = jobSchema.safeParse(data);
  return parsed.success
    ? { batch: batchId(parsed.data.batch), images: parsed.data.files.length }
    : { batch: 'unknown', images: 0 };
}

/** In the library's words what BullMQ says in its own. */
function reasonOf(reason = ''): string {
  if (!/stalled more than/.test(reason)) return reason;
  return 'three workers were lost over it. One of its pictures may be what ends them.';
}

/** Of the chunks that ended in the window, over the time in which at least one of them ran. */
function rateOf(summaries: readonly ChunkSummary[], now: number): number | null {
  const recent = summaries
    .filter(({ finishedAt }) => finishedAt > now - rateWindow)
    .sort((a, b) => a.startedAt - b.startedAt);
  let busy = 0;
  let until = 0;
  for (const { startedAt, finishedAt } of recent) {
    busy += Math.max(0, finishedAt - Math.max(startedAt, until));
    until = Math.max(until, finishedAt);
  }
  const images = recent.reduce((total, each) => total + each.images, 0);
  return recent.length === 0 ? null : images / (Math.max(busy, 1) / 1000);
}
