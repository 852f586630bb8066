import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';

const samples = z.array(z.number().nonnegative()).min(1);
const positive = z.number().positive();
const whole = z.int().positive();

/** What was measured, when and where. */
const origin = {
  model: z.string(),
  date: z.string(),
  machine: z.object({ processor: z.string(), cores: whole, loadAverage: z.number() }),
};

const batchSchema = z.object({
  ...origin,
  /** Images in a chunk, and milliseconds of chunks that one worker did. */
  chunkSize: whole,
  chunks: samples,
  /** Milliseconds from a worker's start to its first chunk, and between two chunks. */
  start: z.number().nonnegative(),
  between: z.number().nonnegative(),
  /** Bytes of Redis that a queued chunk takes beside its paths, and that each path takes beside its length. */
  redisChunkBytes: z.number().nonnegative(),
  redisPathBytes: z.number().nonnegative(),
});

const serverSchema = z.object({
  ...origin,
  executors: whole,
  /** LibTorch's, in each executor; null where the server was started by others, who did not say. */
  threads: whole.nullable(),
  maxBatch: whole,
  /** Those that decoded what was sent; 0: tensors were sent. */
  decodeThreads: z.int().nonnegative(),
  /** Milliseconds of a batch by its size, computed while the server did nothing else. */
  alone: z.record(z.string(), samples),
  /** By how much a batch is slower when 1, 2, 3, ... are computed at once. */
  slowdown: z.array(positive).min(1),
  /** Milliseconds of a request outside of the executors: with nothing else to do, and while a batch was computed. */
  around: z.object({ idle: samples, busy: samples }),
  /** Of these the milliseconds of an answer. */
  answering: z.number().nonnegative(),
  /** Milliseconds that a batch takes longer for each request that is read and answered meanwhile. */
  disturbance: z.number().nonnegative(),
  /** Milliseconds between two batches of an executor. */
  turnaround: z.number().nonnegative(),
  /** What came of as many connections as fill every batch, to hold the simulation against. */
  full: z.object({
    connections: whole,
    perSecond: positive,
    p50: positive,
    p99: positive,
    meanBatch: positive,
  }),
});

export const timesSchema = z.object({
  version: z.literal(1),
  server: serverSchema.optional(),
  batch: batchSchema.optional(),
});

/** @throws {Error} that says what is wrong with the file */
export function readTimes(path) {
  let json;
  try {
    json = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new Error(`Cannot read '${path}': ${error.message}`);
  }
  const parsed = timesSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new Error(`'${path}' is no file of \`measure\`: ${z.prettifyError(parsed.error)}`);
}

export function writeTimes(path, times) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${JSON.stringify(timesSchema.parse(times))}\n`);
}

/**
 * What things took on a real server, drawn anew for each that is simulated. A batch of a size that was not measured is between
 * those of the sizes beside it; a larger one takes the more for each image that the last step took.
 */
export class MeasuredTimes {
  #server;
  #random;
  #sorted;
  #sizes;

  constructor(server, random) {
    this.#server = server;
    this.#random = random;
    this.#sizes = Object.keys(server.alone)
      .map(Number)
      .sort((a, b) => a - b);
    this.#sorted = new Map(this.#sizes.map((size) => [size, Float64Array.from(server.alone[size]).sort()]));
  }

  batch(size) {
    const share = this.#random();
    const drawn = (of) => {
      const sorted = this.#sorted.get(of);
      return sorted[Math.floor(share * sorted.length)];
    };
    if (this.#sorted.has(size)) return drawn(size);
    const sizes = this.#sizes;
    if (sizes.length === 1 || size < sizes[0]) return (drawn(sizes[0]) * size) / sizes[0];
    const position = sizes.findIndex((each) => each > size);
    const [low, high] = position < 0 ? sizes.slice(-2) : sizes.slice(position - 1, position + 1);
    return drawn(low) + ((drawn(high) - drawn(low)) * (size - low)) / (high - low);
  }

  slowdown(together) {
    const { slowdown } = this.#server;
    return slowdown[Math.min(together, slowdown.length) - 1];
  }

  reading(busy) {
    const { around, answering } = this.#server;
    const all = busy ? around.busy : around.idle;
    return Math.max(0, all[Math.floor(this.#random() * all.length)] - answering);
  }

  answering() {
    return this.#server.answering;
  }

  get disturbance() {
    return this.#server.disturbance;
  }

  get turnaround() {
    return this.#server.turnaround;
  }
}
