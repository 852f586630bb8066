import type { ChunkSummary } from '../../batch/index.js';

export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

export function describeTime(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

/** "32 images: 30 explained, 2 failed; 2.4 s" */
export function describeChunk(summary: ChunkSummary): string {
  const { images, computed, reused, duplicates, failed, startedAt, finishedAt } = summary;
  const parts = [
    ...(computed ? [`${computed} explained`] : []),
    ...(reused ? [`${reused} there already`] : []),
    ...(duplicates ? [`${duplicates} repeated`] : []),
    ...(failed ? [`${failed} failed`] : []),
  ];
  const seconds = ((finishedAt - startedAt) / 1000).toFixed(1);
  return `${count(images, 'image')}: ${parts.join(', ')}; ${seconds} s`;
}

export function describeFailure({ reason, willRetry }: { reason: string; willRetry: boolean }): string {
  return `failed${willRetry ? ', will be tried again' : ''}: ${reason}`;
}

/** A line about a chunk, or about none. Names of files and what stands in a queue may hold what controls a terminal. */
export function lineOf(chunk: string, text: string): string {
  return `${chunk === '' ? '' : `${chunk.slice(0, 8)}  `}${text}`.replace(/\p{Cc}/gu, '?');
}

/** Pictures that could not be explained are shown up to this many; the manifest has all. */
const shownFailures = 10;

export function printFailures(failures: readonly { readonly message: string }[], failed: number): void {
  for (const { message } of failures.slice(0, shownFailures)) console.log(lineOf('', `failed   ${message}`));
  if (failed > shownFailures) console.log(`         and ${failed - shownFailures} more`);
}
