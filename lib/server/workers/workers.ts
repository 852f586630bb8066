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
import type { DrawingTask, Outcome } from './tasks.js';

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

  /** @param threads - how many, and so how many pieces of work run at once */
  constructor(threads: number) {
    this.#threads = threads;
    this.#queue = new PQueue({ concurrency: threads });
  }

  /** Begins the threads, so that the first work does not wait for them. */
  start(): Piscina {
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
    while (pool.threads.length < this.#threads && performance.now() < end) await sleep(10);
  }

  /**
   * @throws {GradCamError} `ERR_IMAGE_LOAD`, and the signal's reason
   */
  async decode(bytes: Uint8Array, options: LoadImageOptions, signal: AbortSignal): Promise<ClientPicture> {
    const opened = await openPicture(bytes, options);
    const decoded =
      opened.pixels <= fewPixels
        ? await this.#queued(() => opened.decode(), signal)
        : await this.#decodeInThread(bytes, options, signal);
    const { rgb, width, height, geometry, depth } = decoded;
    return {
      ...imageOf(decoded, bytes, options),
      bytes,
      options,
      pixels: { rgb, width, height, geometry, depth },
    };
  }

  async #decodeInThread(
    bytes: Uint8Array,
    options: LoadImageOptions,
    signal: AbortSignal,
  ): Promise<DecodedImage> {
    const copy = new Uint8Array(bytes);
    return await this.#run<DecodedImage>('decode', { bytes: copy, options }, signal, [copy.buffer]);
  }

  /** The file's bytes; the memory of the maps may be handed over. */
  async draw(task: DrawingTask, signal: AbortSignal): Promise<Buffer> {
    if (countDrawn(task) <= fewDrawn) return await drawFile(task);
    // The photo itself is only read again to be drawn on in its own size.
    const bytes = task.drawing.original ? new Uint8Array(task.bytes) : new Uint8Array(0);
    const memory = [bytes.buffer, task.maps.values.buffer as ArrayBuffer];
    return bufferOf(await this.#run<Uint8Array>('draw', { ...task, bytes }, signal, memory));
  }

  /** The body of an inference; the memory of a large one is handed over. */
  async readJson(bytes: Buffer): Promise<unknown> {
    if (bytes.length <= smallBody) return readInferenceJson(bytes.toString('utf8'));
    const own = bytes.length === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes);
    const view = new Uint8Array(own.buffer as ArrayBuffer);
    return await this.#run<unknown>('readJson', view, undefined, [view.buffer]);
  }

  /** An answer with numbers as JSON; the memory of many is handed over. */
  async writeJson(answer: unknown, signal: AbortSignal): Promise<Buffer> {
    if (countNumbers(answer) <= fewNumbers) return Buffer.from(writeAnswerJson(answer));
    const memory = [...buffersOf(answer)];
    return bufferOf(await this.#run<Uint8Array>('writeJson', answer, signal, memory));
  }

  async #run<T>(
    name: string,
    task: unknown,
    signal: AbortSignal | undefined,
    transferList: ArrayBuffer[],
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
        return (await this.start().run(task, { name, signal: end.signal, transferList })) as Outcome<T>;
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
    await this.#queue.onIdle();
    const pool = this.#pool;
    if (!pool) return;
    await this.#allLoaded(pool);
    await pool.destroy();
  }
}

function bufferOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
