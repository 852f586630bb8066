import { Clock } from './clock.mjs';

/** As `gradcam batch` has them where nothing is said. */
export const batchDefaults = { attempts: 3, backoffMs: 1000, takeOverMs: 30_000 };

/**
 * Workers that take chunks from one queue, each on cores of its own.
 *
 * A chunk that fails has come some part of its way, which is kept: the next attempt finds those results. It waits 1, 2, 4, ...
 * times `backoffMs` for it, and is failed after `attempts`. A worker that is lost (its chunk waits until `takeOverMs` are
 * over) is there again at once, as where something restarts it; after three losses a chunk is failed.
 * @param chunkMs - a function that gives the milliseconds of one chunk
 * @param failureRate - share of attempts that fail for a reason that may pass, 0 to 1
 * @param lossRate - share of attempts whose worker is lost
 * @param startMs - of a worker, before its first chunk and after a loss; `betweenMs`: between two chunks
 * @param random - from 0 to 1
 */
export function simulateBatch({
  chunks,
  workers,
  chunkMs,
  failureRate = 0,
  lossRate = 0,
  startMs = 0,
  betweenMs = 0,
  random,
  ...given
}) {
  const { attempts, backoffMs, takeOverMs } = { ...batchDefaults, ...given };
  const clock = new Clock();
  const counts = { done: 0, failed: 0, retries: 0, losses: 0, attempts: 0 };
  let finishedAt = 0;
  let busy = 0;
  let untouched = chunks;
  /** BullMQ puts what a lost worker had at the front of the queue, and what failed at its end. */
  const lost = [];
  const again = [];
  const idle = [];

  const takeChunk = () => {
    if (lost.length > 0) return lost.shift();
    if (untouched === 0) return again.shift() ?? null;
    untouched--;
    return { left: chunkMs(), tries: 0, losses: 0 };
  };

  const requeue = (queue, chunk, milliseconds) => {
    clock.after(milliseconds, () => {
      queue.push(chunk);
      idle.shift()?.();
    });
  };

  const end = (outcome) => {
    counts[outcome]++;
    finishedAt = clock.now;
  };

  const work = () => {
    const chunk = takeChunk();
    if (chunk === null) {
      idle.push(work);
      return;
    }
    counts.attempts++;
    const fate = random();
    const isLost = fate < lossRate;
    const fails = !isLost && fate < lossRate + failureRate;
    const takes = chunk.left * (isLost || fails ? random() : 1);
    busy += takes;
    clock.after(takes, () => {
      chunk.left -= takes;
      if (isLost) {
        counts.losses++;
        if (++chunk.losses > 2) end('failed');
        else requeue(lost, chunk, takeOverMs);
        clock.after(startMs, work);
        return;
      }
      if (!fails) end('done');
      else if (++chunk.tries === attempts) end('failed');
      else {
        counts.retries++;
        requeue(again, chunk, backoffMs * 2 ** (chunk.tries - 1));
      }
      clock.after(betweenMs, work);
    });
  };

  for (let worker = 0; worker < workers; worker++) clock.after(startMs, work);
  clock.run();
  return { ...counts, milliseconds: finishedAt, utilisation: busy / (finishedAt * workers) };
}

/** Bytes of Redis that so many queued chunks take, with paths of that length. */
export function redisBytes(batch, { images, chunkSize, pathLength }) {
  const { redisChunkBytes, redisPathBytes } = batch;
  return Math.ceil(images / chunkSize) * redisChunkBytes + images * (redisPathBytes + pathLength);
}
