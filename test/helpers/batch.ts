import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { link, mkdir, mkdtemp, readdir, readFile, rename, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Queue } from 'bullmq';
import {
  type BatchStatus,
  type BatchWorkerReport,
  batchStatus,
  type CollectedEntry,
  runBatchWorker,
  type SubmitBatchOptions,
} from 'node-gradcam/batch';
import sharp from 'sharp';
import { noise } from './fixtures.js';
import { makePipe } from './named-pipes.js';
import { RedisServer } from './redis-server.js';
import { requirements } from './requirements.js';
import { fixturePath, rootPath } from './root.js';
import { testWith } from './test-with.js';
import { until } from './until.js';

export const program: string = rootPath('dist/lib/cli/main.js');

export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** `gradcam batch ...` in a process of its own. */
export class BatchProcess {
  readonly #child: ChildProcess;
  readonly ended: Promise<Ending>;
  stdout = '';
  stderr = '';

  constructor(t: ExecutionContext, ...args: string[]) {
    this.#child = spawn(process.execPath, [program, 'batch', ...args], { stdio: 'pipe' });
    t.teardown(() => this.#child.kill('SIGKILL'));
    this.#child.stdout?.on('data', (text) => {
      this.stdout += text;
    });
    this.#child.stderr?.on('data', (text) => {
      this.stderr += text;
    });
    this.ended = new Promise((resolve) => {
      this.#child.once('close', (code, signal) => {
        resolve({ code, signal, stdout: this.stdout, stderr: this.stderr });
      });
    });
  }

  /** One more line on its standard input. */
  type(line: string): void {
    this.#child.stdin?.write(`${line}\n`);
  }

  endInput(): void {
    this.#child.stdin?.end();
  }

  get alive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }
}

/** Folder with `count` different pictures, every third in a folder below. */
export async function makePictures(count: number, seed = 0): Promise<{ root: string; photos: string }> {
  const root = await mkdtemp(join(tmpdir(), 'gradcam-batch-'));
  const photos = join(root, 'photos');
  await mkdir(join(photos, 'below'), { recursive: true });
  for (let index = 0; index < count; index++) {
    const path = join(photos, index % 3 ? '' : 'below', `${String(index).padStart(4, '0')}.png`);
    await writePicture(path, seed + index);
  }
  return { root, photos };
}

/** A small picture whose content the seed decides. */
export async function writePicture(path: string, seed: number): Promise<void> {
  const values = noise(8 * 8 * 3, seed + 1).map((value) => 127.5 * (value + 1));
  const raw = { width: 8, height: 8, channels: 3 as const };
  await sharp(Uint8Array.from(values), { raw }).resize(48, 48, { kernel: 'nearest' }).png().toFile(path);
}

/** A picture at which workers come to a halt, as at a disk that does not answer. */
export interface HeldPicture {
  /** Resolves when somebody waits for it, and has got it; others go on waiting. */
  handOver(): Promise<void>;
  /** From now on it is there, also for who waits for it already. */
  release(): Promise<void>;
}

export async function holdPicture(root: string, path: string): Promise<HeldPicture> {
  const [picture, pipe] = [join(root, 'held-picture'), makePipe(join(root, 'pipe'))];
  const content = await readFile(path);
  await rename(path, picture);
  await link(pipe, path);
  /** Whether somebody waited for it. */
  const give = () => {
    try {
      const writer = openSync(pipe, constants.O_WRONLY | constants.O_NONBLOCK);
      writeSync(writer, content);
      closeSync(writer);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENXIO') return false;
      throw error;
    }
  };
  return {
    handOver: async () => {
      await until('somebody to wait for the picture', give);
    },
    release: async () => {
      await rename(picture, path);
      give();
    },
  };
}

export async function readManifest(output: string): Promise<CollectedEntry[]> {
  const text = await readFile(join(output, 'manifest.jsonl'), 'utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as CollectedEntry);
}

export const modelPath = fixturePath('scripted.pt');

let server: RedisServer;
let queues = 0;

test.before(async () => {
  if (requirements.Redis.missing() === null) server = await RedisServer.start();
});
test.after.always(async () => {
  await server?.stop();
});

/** A test against a real Redis server. */
export const withRedis = testWith('Redis');

/** A queue of its own, with the options for everything that takes one. */
export interface QueueAddress {
  readonly redis: string;
  readonly queue: string;
}

export function newQueue(): { address: QueueAddress; args: string[] } {
  const queue = `test-${++queues}`;
  return { address: { redis: server.url, queue }, args: ['--redis', server.url, '--queue', queue] };
}

/** Puts a job into a queue past all that makes one, as whoever can write to Redis may. */
export async function addJob({ redis, queue }: QueueAddress, id: string, data: unknown): Promise<void> {
  const jobs = new Queue(queue, { connection: { url: redis }, prefix: 'gradcam' });
  await jobs.add('explain', data, { jobId: id });
  await jobs.close();
}

export type RunningChunk = BatchStatus['running'][number];
export type Extra = Partial<SubmitBatchOptions>;

export function submission(root: string, address: object, extra: Extra = {}): SubmitBatchOptions {
  return {
    model: modelPath,
    images: [join(root, 'photos')],
    output: join(root, 'out'),
    image: { size: 32 },
    format: 'none',
    ...address,
    ...extra,
  };
}

/** Seconds of silence after which a worker is taken for dead: long enough for one that only starts slowly. */
const takeOver = 3;
export const takeOverSoon = ['--take-over', String(takeOver)] as const;

export function workUntilDone(address: object, extra: object = {}): Promise<BatchWorkerReport> {
  return runBatchWorker({ ...address, exitWhenDone: true, takeOverAfter: takeOver * 1000, ...extra });
}

export function successes(entries: readonly CollectedEntry[]) {
  return entries.flatMap((entry) => ('output' in entry ? [entry] : []));
}

/** Every file below a folder, with when it was written. */
export async function filesBelow(folder: string): Promise<Map<string, number>> {
  const files = new Map<string, number>();
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) files.set(path, (await stat(path)).mtimeMs);
  }
  return files;
}

/** Resolves with what a worker is at, once it has told that it explained some of it. */
export async function untilWithinChunk(address: object): Promise<RunningChunk> {
  return await until('the first images of a chunk', async () => {
    const { running } = await batchStatus(address);
    return running.find(({ done }) => done > 0) ?? null;
  });
}
