import { setTimeout as sleep } from 'node:timers/promises';
import PQueue from 'p-queue';
import { Piscina } from 'piscina';
import {
  type DecodedImage,
  type DecodedPixels,
  imageOf,
  type LoadedImage,
  openPicture,
} from '../../image/load-image.js';
import type { LoadImageOptions } from '../../image/options.js';
import { buffersOf, countNumbers, writeAnswerJson } from './answer-json.js';
import { countDrawn, drawFile } from './drawing.js';
import { unpackError } from './failure.js';
import { readInferenceJson } from './inference-json.js';
import { alone, type DrawingTask, type Outcome } from './tasks.js';

/** A picture that a client sent, decoded; it can be drawn on in a thread. */
export interface ClientPicture extends LoadedImage {
  readonly bytes: Uint8Array;
  readonly options: LoadImageOptions;
  readonly pixels: DecodedPixels;
}

// What takes less than some milliseconds is done at once: the way to a thread and back costs it a tenth to a quarter more.
/** Of a picture that is decoded, most of which libvips does in threads of its own. */
const fewPixels = 2 ** 20;
const fewDrawn = 2 ** 18;
const smallBody = 2 ** 20;
const fewNumbers = 60_000;
/** A thread takes longer to begin than most work takes to end. */
const patienceMs = 1000;
const longestStartMs = 30_000;

/** The threads of a server. What is aborted while it waits is not begun; what runs on for a second after is ended. */
export class Workers {
  readonly #threads: number;
  readonly #queue: PQueue;
  #pool: Piscina | undefined;
  /** Of the threads that there are now. */
  #loaded: Promise<void> | undefined;
  #ended = false;
  #closed = false;

  /** @param threads - how many, and so how many pieces of work run at once */
  constructor(threads: number) {
    this.#threads = threads;
    this.#queue = new PQueue({ concurrency: threads });
  }

  /** Begins the threads, so that the first work does not wait for them; not of a server that was closed before it was ready. */
  prepare(): void {
    if (!this.#closed) this.#start();
  }

  #start(): Piscina {
    this.#pool ??= new Piscina({
      filename: new URL('./thread.js', import.meta.url).href,
      minThreads: this.#threads,
      maxThreads: this.#threads,
      // Pictures are decoded by threads of libvips, which a thread that sleeps on a lock would not hear of.
      atomics: 'disabled',
      // The main thread answers health checks, whatever is drawn.
      niceIncrement: 5,
      recordTiming: false,
    });
    this.#loaded ??= this.#allLoaded(this.#pool);
    return this.#pool;
  }

  /** Each thread takes one of these when it has read its modules: Node 20 aborts the process if one is ended before. */
  async #allLoaded(pool: Piscina): Promise<void> {
    await Promise.allSettled(Array.from({ length: this.#threads }, () => pool.run(null, { name: 'ready' })));
    // A thread that began in the place of another is counted from then on.
    const end = performance.now() + longestStartMs;
    while (pool.threads.length < this.#threads && performance.now() < end && !this.#ended) await sleep(10);
  }

  /**
   * @param bytes - of the file, whose memory may be handed over: the picture has them from then on
   * @throws {GradCamError} `ERR_IMAGE_LOAD`, and the signal's reason
   */
  async decode(bytes: Uint8Array, options: LoadImageOptions, signal: AbortSignal): Promise<ClientPicture> {
    const opened = await openPicture(bytes, options);
    const [decoded, file] =
      opened.pixels <= fewPixels
        ? [await this.#queued(() => opened.decode(), signal), bytes]
        : await this.#decodeInThread(bytes, options, signal);
    const { rgb, width, height, geometry, depth } = decoded;
    return {
      ...imageOf(decoded, file, options),
      bytes: file,
      options,
      pixels: { rgb, width, height, geometry, depth },
    };
  }

  /** The file's bytes go to the thread and come back: copies of large ones would hold up the event loop. */
  async #decodeInThread(
    bytes: Uint8Array,
    options: LoadImageOptions,
    signal: AbortSignal,
  ): Promise<[DecodedImage, Uint8Array]> {
    return await this.#run<[DecodedImage, Uint8Array]>('decode', signal, () => {
      const own = alone(bytes);
      return { task: { bytes: own, options }, memory: [own.buffer as ArrayBuffer] };
    });
  }

  /** The file's bytes; the memory of the maps and of the photo may be handed over. */
  async draw(task: DrawingTask, signal: AbortSignal): Promise<Buffer> {
    if (countDrawn(task) <= fewDrawn) return await drawFile(task);
    const drawn = await this.#run<Uint8Array>('draw', signal, () => {
      // The photo itself is only read again to be drawn on in its own size.
      const bytes = task.drawing.original ? alone(task.bytes) : new Uint8Array(0);
      return { task: { ...task, bytes }, memory: [bytes.buffer, task.maps.values.buffer] as ArrayBuffer[] };
    });
    return bufferOf(drawn);
  }

  /** The body of an inference; the memory of a large one is handed over. */
  async readJson(bytes: Buffer): Promise<unknown> {
    if (bytes.length <= smallBody) return readInferenceJson(bytes.toString('utf8'));
    return await this.#run<unknown>('readJson', undefined, () => {
      const view = new Uint8Array(alone(bytes).buffer as ArrayBuffer);
      return { task: view, memory: [view.buffer] };
    });
  }

  /** An answer with numbers as JSON; the memory of many is handed over. */
  async writeJson(answer: unknown, signal: AbortSignal): Promise<Buffer> {
    if (countNumbers(answer) <= fewNumbers) return Buffer.from(writeAnswerJson(answer));
    const written = await this.#run<Uint8Array>('writeJson', signal, () => ({
      task: answer,
      memory: [...buffersOf(answer)],
    }));
    return bufferOf(written);
  }

  /** @param handOver - called when a thread is free: copies of large requests that come together are not made together */
  async #run<T>(
    name: string,
    signal: AbortSignal | undefined,
    handOver: () => { task: unknown; memory: ArrayBuffer[] },
  ): Promise<T> {
    const outcome = await this.#queued(async () => {
      const end = new AbortController();
      let patience: NodeJS.Timeout | undefined;
      const onAbort = () => {
        patience = setTimeout(async () => {
          await this.#loaded;
          end.abort(signal?.reason);
        }, patienceMs);
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      try {
        const { task, memory } = handOver();
        const how = { name, signal: end.signal, transferList: memory };
        return (await this.#start().run(task, how)) as Outcome<T>;
      } catch (error) {
        // Another thread begins for one that was ended.
        if (end.signal.aborted && this.#pool) this.#loaded = this.#allLoaded(this.#pool);
        signal?.throwIfAborted();
        throw error;
      } finally {
        clearTimeout(patience);
        signal?.removeEventListener('abort', onAbort);
      }
    }, signal);
    if ('failure' in outcome) throw unpackError(outcome.failure);
    return outcome.value;
  }

  /** Runs when there is room, and so never more at once than there are threads. */
  async #queued<T>(work: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    return await this.#queue.add(async () => {
      signal?.throwIfAborted();
      return await work();
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#queue.onIdle();
    const pool = this.#pool;
    if (!pool) return;
    await this.#allLoaded(pool);
    this.#ended = true;
    await pool.destroy();
  }
}

function bufferOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
