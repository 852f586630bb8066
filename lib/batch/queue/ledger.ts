import type { Redis } from 'ioredis';
import { z } from 'zod';
import { GradCamError } from '../../errors/errors.js';
import type { ManifestEntry } from '../output/folder.js';

const summarySchema = z.object({
  images: z.number(),
  /** Explained in this chunk. */
  computed: z.number(),
  /** Explained before, by another chunk or an earlier submission. */
  reused: z.number(),
  /** The same content as another image of this chunk. */
  duplicates: z.number(),
  /** Pictures that could not be read; the manifest says why. */
  failed: z.number(),
  /** Milliseconds since 1970; 0 for a chunk that was done before it was submitted. */
  startedAt: z.number(),
  finishedAt: z.number(),
});

/** What a finished chunk came to, in images. */
export type ChunkSummary = Readonly<z.infer<typeof summarySchema>>;

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

/**
 * The books of a queue, in Redis, for `status` alone. Everything is noted under its chunk's id, so that a chunk that is
 * done twice, as after a stall, is counted once.
 * @internal
 */
export class Ledger {
  readonly #redis: Redis;
  readonly #prefix: string;

  constructor(redis: Redis, queue: string) {
    this.#redis = redis;
    this.#prefix = `gradcam-batch:${queue}`;
  }

  async openBatch(batch: string, header: BatchHeader): Promise<void> {
    await this.#redis.hset(`${this.#prefix}:batches`, batch, JSON.stringify(header));
  }

  /** The number of a submission that begins. */
  async beginSubmission(batch: string): Promise<number> {
    return await this.#redis.incr(this.#key(batch, 'submissions'));
  }

  /** Whether no other submission of the batch began after this one. */
  async isNewest(batch: string, submission: number): Promise<boolean> {
    return Number(await this.#redis.get(this.#key(batch, 'submissions'))) === submission;
  }

  async isCancelled(batch: string): Promise<boolean> {
    return (await this.#redis.hexists(`${this.#prefix}:batches`, batch)) === 0;
  }

  /** All batches, also those whose books are damaged. */
  async names(): Promise<string[]> {
    return await this.#redis.hkeys(`${this.#prefix}:batches`);
  }

  /**
   * In the order of submission.
   * @throws {GradCamError} `ERR_REDIS` where the books of a batch are damaged
   */
  async batches(): Promise<(BatchHeader & { readonly batch: string })[]> {
    const all = await this.#redis.hgetall(`${this.#prefix}:batches`);
    return Object.entries(all)
      .map(([batch, header]) => ({ batch, ...read(headerSchema, header, batch) }))
      .sort((a, b) => a.submittedAt - b.submittedAt);
  }

  async addChunk(batch: string, chunk: string, images: number): Promise<void> {
    await this.#redis.hset(this.#key(batch, 'chunks'), chunk, images);
  }

  /** Images of each chunk. */
  async chunks(batch: string): Promise<Map<string, number>> {
    const all = await this.#redis.hgetall(this.#key(batch, 'chunks'));
    return new Map(Object.entries(all).map(([chunk, images]) => [chunk, Number(images)]));
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
    const all = await this.#redis.hgetall(this.#key(batch, 'done'));
    return new Map(
      Object.entries(all).map(([chunk, summary]) => [chunk, read(summarySchema, summary, batch)]),
    );
  }

  /** Forgets a batch. */
  async dropBatch(batch: string): Promise<void> {
    await this.#redis.hdel(`${this.#prefix}:batches`, batch);
    const keys = (['chunks', 'done', 'submissions'] as const).map((what) => this.#key(batch, what));
    await this.#redis.del(...keys);
  }

  async dropChunk(batch: string, chunk: string): Promise<void> {
    await this.#redis.hdel(this.#key(batch, 'chunks'), chunk);
    await this.#redis.hdel(this.#key(batch, 'done'), chunk);
  }

  #key(batch: string, what: 'chunks' | 'done' | 'submissions'): string {
    return `${this.#prefix}:${batch}:${what}`;
  }
}

function read<T>(schema: z.ZodType<T>, text: string, batch: string): T {
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new GradCamError(
      'ERR_REDIS',
      `What Redis holds of the batch ${batch} is damaged. The results are not: cancel it (gradcam batch cancel ${batch}), and submit it again.`,
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

/** @internal The summary of a chunk whose manifest was there already. */
export function summaryOfEarlier(entries: readonly ManifestEntry[]): ChunkSummary {
  const images = entries.length;
  const failed = entries.filter((entry) => 'error' in entry).length;
  return { images, computed: 0, reused: images - failed, duplicates: 0, failed, startedAt: 0, finishedAt: 0 };
}
