import { channel } from 'node:diagnostics_channel';
import { getEventListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { native } from '../../lib/addon/addon.js';
import { until } from './until.js';

// A leak told by counting, not by the process's size: what is alive is equal before and after, however often a thing is
// done and however fast the machine is.

const channels = ['start', 'batch', 'end', 'error'].map((event) => `gradcam:explain:${event}`);

export type LiveCounts = Readonly<Record<string, number>>;

/**
 * What is alive in the process: objects of the addon, blocks of LibTorch's CPU allocator, and what JavaScript holds.
 * @param signals - their `abort` listeners are counted
 */
function liveCounts(signals: readonly AbortSignal[] = []): LiveCounts {
  const { liveBlocks, liveBytes, liveObjects } = native().memory();
  return {
    ...liveObjects,
    blocks: liveBlocks,
    bytes: liveBytes,
    subscribers: channels.filter((name) => channel(name).hasSubscribers).length,
    listeners: signals.reduce((sum, signal) => sum + getEventListeners(signal, 'abort').length, 0),
  };
}

// The finalizers of handles run in turns of the event loop, some after the collection. Far more than any count has needed.
const mostCollections = 300;

/** The counts as soon as they are as expected; where they do not get there, as they are after many collections. */
export async function settledCounts(
  expected: LiveCounts,
  signals: readonly AbortSignal[] = [],
): Promise<LiveCounts> {
  await until('the jobs to end', () => native().memory().liveObjects.jobs === 0);
  for (let collection = 0; ; collection++) {
    global.gc?.();
    await sleep(1);
    const counts = liveCounts(signals);
    const equal = Object.entries(expected).every(([name, count]) => counts[name] === count);
    if (equal || collection === mostCollections) return counts;
  }
}
