import type { ManifestEntry } from '../output/folder.js';
import { batchFolder, readChunkManifest, writeChunkManifest } from '../output/folder.js';
import { type ChunkSummary, summaryOfEarlier } from '../output/summary.js';
import type { Chunk } from '../specification/chunks.js';
import type { ExplainSession } from './explain-session.js';
import { runChunk } from './run-chunk.js';

/** A chunk, and the batch and output folder that it belongs to. */
export interface ChunkOfBatch extends Chunk {
  readonly batch: string;
  /** The whole hash of the batch. */
  readonly digest: string;
  /** Absolute. */
  readonly folder: string;
}

/** What became of a chunk. */
export interface FinishedChunk {
  readonly entries: readonly ManifestEntry[];
  readonly summary: ChunkSummary;
}

/** A chunk that was finished before; null where it was not. */
export async function findFinished({ folder, batch, id }: ChunkOfBatch): Promise<FinishedChunk | null> {
  const entries = await readChunkManifest(folder, batch, id);
  return entries && { entries, summary: summaryOfEarlier(entries) };
}

/**
 * Explains the pictures of a chunk, and writes its manifest last: that makes it done.
 * @throws {GradCamError} `ERR_BATCH_FOLDER`, `ERR_BATCH_ROOT`, and those of `Explainer.explain`
 */
export async function finishChunk(
  session: ExplainSession,
  { folder, batch, id, files }: ChunkOfBatch,
  signal: AbortSignal,
  onProgress: (done: number) => void,
): Promise<FinishedChunk> {
  const images = files.map(([path]) => path);
  const finished = await runChunk(session, folder, images, signal, onProgress);
  signal.throwIfAborted();
  await session.roots.admit(batchFolder(folder, batch));
  await writeChunkManifest(folder, batch, id, finished.entries);
  return finished;
}
