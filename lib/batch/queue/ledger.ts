import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { GradCamError } from '../../errors/errors.js';
import type { ChunkSummary } from '../output/summary.js';

const headerSchema = z.object({
  model: z.string(),
  method: z.string(),
  folder: z.string(),
  submittedAt: z.number(),
  /** Whether all its images were found and queued. */
  complete: z.boolean(),
});

/** What `status` tells of a batch beyond numbers. */
export type BatchHeader = z.infer<typeof headerSchema>;

const count = z.number().int().nonnegative();
const summarySchema: z.ZodType<ChunkSummary> = z.object({
  images: count,
  computed: count,
  reused: count,
  duplicates: count,
  failed: count,
  startedAt: z.number(),
  finishedAt: z.number(),
});

/** Milliseconds after which a submission that was not heard from is taken for dead, and between its signs of life. */
const submissionLife = 15_000;
const submissionBeat = 4_000;

/** One step, for a later submission may begin and end between two. */
const noteUnlessOlder = `
local note = redis.call('get', KEYS[2]) == ARGV[2] and 'hset' or 'hsetnx'
return redis.call(note, KEYS[1], ARGV[1], ARGV[3])`;

/**
 * The books of a queue, in Redis: for `status`, and for what a worker must know of batches. Everything is noted under its
 * chunk's id, so that a chunk that is done twice, as after a stall, is counted once.
 * @internal
 */
export class Ledger {
  readonly #redis: Redis;
  readonly #prefix: string;

  constructor(redis: Redis, queue: string) {
    this.#redis = redis;
    this.#prefix = `gradcam-batch:${queue}`;
  }

  /** Notes a batch as a submission begins to queue it. What a later submission has noted before stays. */
  async openBatch(batch: string, submission: number, header: BatchHeader): Promise<void> {
    const keys = [this.#batches, this.#key(batch, 'submissions')];
    await this.#redis.eval(noteUnlessOlder, keys.length, ...keys, batch, submission, JSON.stringify(header));
  }

  /** Notes that all images of a batch were found and queued. */
  async completeBatch(batch: string, header: BatchHeader): Promise<void> {
    await this.#redis.hset(this.#batches, batch, JSON.stringify({ ...header, complete: true }));
  }

  /** The number of a submission that begins. */
  async beginSubmission(batch: string): Promise<number> {
    return await this.#redis.incr(this.#key(batch, 'submissions'));
  }

  /** Whether no other submission of the batch began after this one. */
  async isNewest(batch: string, submission: number): Promise<boolean> {
    return Number(await this.#redis.get(this.#key(batch, 'submissions'))) === submission;
  }

  /**
   * Tells that something is being submitted, until what is returned is disposed of or this process is gone: workers that are to
   * end when all is done must not do so while more is on its way.
   */
  async announceSubmission(): Promise<AsyncDisposable> {
    const key = this.#submitting;
    const name = randomUUID();
    const beat = async () => {
      const now = await this.#now();
      await this.#redis
        .multi()
        .zremrangebyscore(key, 0, now)
        .zadd(key, now + submissionLife, name)
        .exec();
    };
    await beat();
    const timer = setInterval(() => beat().catch(() => {}), submissionBeat).unref();
    return {
      [Symbol.asyncDispose]: async () => {
        clearInterval(timer);
        await this.#redis.zrem(key, name).catch(() => {});
      },
    };
  }

  /** Submissions that are being made now. */
  async submissions(): Promise<number> {
    return await this.#redis.zcount(this.#submitting, await this.#now(), '+inf');
  }

  async isCancelled(batch: string): Promise<boolean> {
    return (await this.#redis.hexists(this.#batches, batch)) === 0;
  }

  /** All batches, also those whose books are damaged. */
  async batchNames(): Promise<string[]> {
    return await this.#redis.hkeys(this.#batches);
  }

  /**
   * In the order of submission.
   * @throws {GradCamError} `ERR_REDIS` where the books of a batch are damaged
   */
  async batches(): Promise<(BatchHeader & { readonly batch: string })[]> {
    const all = await this.#redis.hgetall(this.#batches);
    return Object.entries(all)
      .map(([batch, header]) => ({ batch, ...parse(headerSchema, header, batch, this.#batches) }))
      .sort((a, b) => a.submittedAt - b.submittedAt);
  }

  async addChunk(batch: string, chunk: string, images: number): Promise<void> {
    await this.#redis.hset(this.#key(batch, 'chunks'), chunk, images);
  }

  /**
   * Images of each chunk.
   * @throws {GradCamError} `ERR_REDIS` where the books of the batch are damaged
   */
  async chunks(batch: string): Promise<Map<string, number>> {
    const key = this.#key(batch, 'chunks');
    const all = await this.#redis.hgetall(key);
    return new Map(Object.entries(all).map(([chunk, images]) => [chunk, parse(count, images, batch, key)]));
  }

  async chunkNames(batch: string): Promise<string[]> {
    return await this.#redis.hkeys(this.#key(batch, 'chunks'));
  }

  async finishChunk(batch: string, chunk: string, summary: ChunkSummary): Promise<void> {
    if (await this.isCancelled(batch)) return;
    await this.#redis.hset(this.#key(batch, 'done'), chunk, JSON.stringify(summary));
  }

  async isFinished(batch: string, chunk: string): Promise<boolean> {
    return (await this.#redis.hexists(this.#key(batch, 'done'), chunk)) === 1;
  }

  /** @throws {GradCamError} `ERR_REDIS` where the books of the batch are damaged */
  async finished(batch: string): Promise<Map<string, ChunkSummary>> {
    const key = this.#key(batch, 'done');
    const all = await this.#redis.hgetall(key);
    return new Map(
      Object.entries(all).map(([chunk, summary]) => [chunk, parse(summarySchema, summary, batch, key)]),
    );
  }

  /** Forgets a batch. */
  async dropBatch(batch: string): Promise<void> {
    await this.#redis.hdel(this.#batches, batch);
    const keys = (['chunks', 'done', 'submissions'] as const).map((what) => this.#key(batch, what));
    await this.#redis.del(...keys);
  }

  async dropChunk(batch: string, chunk: string): Promise<void> {
    await this.#redis.hdel(this.#key(batch, 'chunks'), chunk);
    await this.#redis.hdel(this.#key(batch, 'done'), chunk);
  }

  get #batches(): string {
    return `${this.#prefix}:batches`;
  }

  get #submitting(): string {
    return `${this.#prefix}:submitting`;
  }

  #key(batch: string, what: 'chunks' | 'done' | 'submissions'): string {
    return `${this.#prefix}:${batch}:${what}`;
  }

  /** Milliseconds since 1970 by the clock that all share. */
  async #now(): Promise<number> {
    const [seconds, microseconds] = await this.#redis.time();
    return Number(seconds) * 1000 + Math.floor(Number(microseconds) / 1000);
  }
}

function parse<T>(schema: z.ZodType<T>, text: string, batch: string, key: string): T {
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new GradCamError(
      'ERR_REDIS',
      `Under '${key}', what Redis holds of the batch ${batch} is damaged, or of another program. The results are untouched: cancel it (gradcam batch cancel ${batch}) and submit it again, or take another queue (--queue).`,
      { cause },
    );
  }
}

/** @internal Of a chunk that is not done, for its batch was cancelled. */
export const cancelledSummary: ChunkSummary = {
  images: 0,
  computed: 0,
  reused: 0,
  duplicates: 0,
  failed: 0,
  startedAt: 0,
  finishedAt: 0,
};
