import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { abortWith } from '../../errors/options.js';
import { faultOf, reasonOf } from '../explaining/faults.js';
import {
  type ChunkOfBatch,
  type FinishedChunk,
  findFinished,
  finishChunk,
} from '../explaining/finish-chunk.js';
import type { FoundChunks } from './found-chunks.js';
import type { RunEvent } from './run-event.js';
import type { SessionWhenNeeded } from './session-when-needed.js';

/** A chunk that could not be done. */
export interface FailedRun {
  readonly chunk: string;
  readonly images: number;
  readonly attempts: number;
  readonly reason: string;
}

interface RunChunksOptions {
  readonly concurrency: number;
  readonly attempts: number;
  readonly signal: AbortSignal | undefined;
  readonly onEvent: (event: RunEvent) => void;
}

/** What the chunks of a run came to, in images. */
export interface RunTotals {
  /** Of the images: explained by this run. */
  readonly computed: number;
  /** Explained before. */
  readonly reused: number;
  /** The same content as another image of their chunk. */
  readonly duplicates: number;
  /** Could not be explained; the manifest says why. */
  readonly failed: number;
  /** The first hundred of these. */
  readonly failures: readonly { readonly input: string; readonly message: string }[];
  /** Not done, for a reason that is no picture's. Running the same again tries them again. */
  readonly failedChunks: readonly FailedRun[];
}

/** Pictures that could not be explained are told up to this many. */
const mostTold = 100;

/** Milliseconds before a chunk is tried again the first time; then twice as many, and so on. */
const firstPause = 1000;

/**
 * Does the chunks that are not done, and tries again what fails for a passing reason.
 * @throws what says that no chunk can be done here, and the signal's reason; then nothing runs any more
 */
export async function runChunks(
  session: SessionWhenNeeded,
  found: FoundChunks,
  { concurrency, attempts, signal: given, onEvent }: RunChunksOptions,
): Promise<RunTotals> {
  const stop = new AbortController();
  const { signal } = stop;
  setMaxListeners(0, signal); // Every image in hand listens.
  const unlink = abortWith(stop, given);
  const counts = { computed: 0, reused: 0, duplicates: 0, failed: 0 };
  const failures: { input: string; message: string }[] = [];
  const failedChunks: FailedRun[] = [];

  const count = ({ entries, summary }: FinishedChunk) => {
    for (const name of ['computed', 'reused', 'duplicates', 'failed'] as const) counts[name] += summary[name];
    for (const entry of entries) {
      if ('error' in entry && failures.length < mostTold)
        failures.push({ input: entry.input, message: entry.error.message });
    }
  };

  const finish = async (chunk: ChunkOfBatch): Promise<void> => {
    const { id, files } = chunk;
    const images = files.length;
    const earlier = await findFinished(chunk);
    if (earlier) {
      count(earlier);
      return;
    }
    for (let attempt = 1; ; attempt++) {
      try {
        const finished = await finishChunk(await session.open(), chunk, signal, (done) =>
          onEvent({ kind: 'progress', chunk: id, done, images }),
        );
        count(finished);
        onEvent({ kind: 'finished', chunk: id, summary: finished.summary });
        return;
      } catch (error) {
        signal.throwIfAborted();
        const fault = faultOf(error);
        if (fault === 'place') throw error;
        const willRetry = fault === 'passing' && attempt < attempts;
        const reason = reasonOf(error);
        onEvent({ kind: 'failed', chunk: id, reason, willRetry });
        if (!willRetry) {
          failedChunks.push({ chunk: id, images, attempts: attempt, reason });
          return;
        }
        await sleep(firstPause * 2 ** (attempt - 1), undefined, { signal });
      }
    }
  };

  const waiting = found.all();
  const work = async () => {
    try {
      for await (const chunk of waiting) {
        signal.throwIfAborted();
        await finish(chunk);
      }
    } catch (error) {
      stop.abort(error);
    }
  };
  try {
    await Promise.all(Array.from({ length: concurrency }, work));
  } finally {
    unlink();
  }
  signal.throwIfAborted();
  return { ...counts, failures, failedChunks };
}
