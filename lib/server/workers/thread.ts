import { move, transferableSymbol, valueSymbol } from 'piscina';
import { type DecodedImage, decodeImage } from '../../image/load-image.js';
import type { LoadImageOptions } from '../../image/options.js';
import { writeAnswerJson } from './answer-json.js';
import { drawFile } from './drawing.js';
import { packError } from './failure.js';
import { readInferenceJson } from './inference-json.js';
import { alone, type DrawingTask, type Outcome } from './tasks.js';

// What runs in the threads. Each function takes plain data and gives plain data; memory is handed over, not copied.

async function outcomeOf<T>(work: () => T | Promise<T>, memoryOf: (value: T) => ArrayBufferLike[]) {
  try {
    const value = await work();
    const outcome: Outcome<T> = { value };
    return move({
      get [transferableSymbol]() {
        return memoryOf(value);
      },
      get [valueSymbol]() {
        return outcome;
      },
    } as never);
  } catch (error) {
    return { failure: packError(error) } satisfies Outcome<T>;
  }
}

/** Tells that the thread has read its modules. */
export const ready = (): true => true;

export const decode = ({ bytes, options }: { bytes: Uint8Array; options: LoadImageOptions }): unknown =>
  outcomeOf<[DecodedImage, Uint8Array]>(
    async () => [await decodeImage(bytes, options), bytes],
    ([{ values, rgb }]) => [...new Set([values.buffer, rgb.buffer, bytes.buffer])],
  );

export const draw = (task: DrawingTask): unknown =>
  outcomeOf<Uint8Array>(
    async () => alone(await drawFile(task)),
    (bytes) => [bytes.buffer],
  );

export const readJson = (bytes: Uint8Array): unknown =>
  outcomeOf<unknown>(
    () => readInferenceJson(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8')),
    () => [],
  );

export const writeJson = (answer: unknown): unknown =>
  outcomeOf<Uint8Array>(
    () => alone(Buffer.from(writeAnswerJson(answer))),
    (bytes) => [bytes.buffer],
  );
