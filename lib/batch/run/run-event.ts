import type { ChunkSummary } from '../output/summary.js';

/** What a run tells as it goes. */
export type RunEvent =
  /** As pictures are found. */
  | { readonly kind: 'found'; readonly images: number; readonly chunks: number }
  /** All are found, and the first of them could be explained. */
  | {
      readonly kind: 'started';
      readonly batch: string;
      readonly images: number;
      /** Of these the pictures of chunks that an earlier run finished. */
      readonly imagesDone: number;
    }
  | { readonly kind: 'progress'; readonly chunk: string; readonly done: number; readonly images: number }
  | { readonly kind: 'finished'; readonly chunk: string; readonly summary: ChunkSummary }
  | { readonly kind: 'failed'; readonly chunk: string; readonly reason: string; readonly willRetry: boolean };
