import type { ManifestEntry } from './folder.js';

/** What a finished chunk came to, in images. */
export interface ChunkSummary {
  readonly images: number;
  /** Explained in this chunk. */
  readonly computed: number;
  /** Explained before, by another chunk or an earlier submission. */
  readonly reused: number;
  /** The same content as another image of this chunk. */
  readonly duplicates: number;
  /** Pictures that could not be read; the manifest says why. */
  readonly failed: number;
  /** Milliseconds since 1970; 0 for a chunk that was done before it was submitted. */
  readonly startedAt: number;
  readonly finishedAt: number;
}

/** @internal The summary of a chunk whose manifest was there already. */
export function summaryOfEarlier(entries: readonly ManifestEntry[]): ChunkSummary {
  const images = entries.length;
  const failed = entries.filter((entry) => 'error' in entry).length;
  return { images, computed: 0, reused: images - failed, duplicates: 0, failed, startedAt: 0, finishedAt: 0 };
}
