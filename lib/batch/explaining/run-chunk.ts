import { readFile } from 'node:fs/promises';
import pMap from 'p-map';
import { GradCamError } from '../../errors/errors.js';
import type { ManifestClass, ManifestEntry } from '../output/folder.js';
import type { ChunkSummary } from '../output/summary.js';
import { digestOf } from '../specification/specification.js';
import type { ExplainSession } from './explain-session.js';
import type { Roots } from './roots.js';

type Outcome = 'computed' | 'reused' | 'duplicates' | 'failed';

/**
 * Explains the pictures of a chunk. A picture that cannot be read is an entry with its error; any other failure is the
 * chunk's.
 */
export async function runChunk(
  session: ExplainSession,
  folder: string,
  images: readonly string[],
  signal: AbortSignal,
  onProgress: (done: number) => void,
): Promise<{ entries: ManifestEntry[]; summary: ChunkSummary }> {
  const startedAt = Date.now();
  const counts: Record<Outcome, number> = { computed: 0, reused: 0, duplicates: 0, failed: 0 };
  const byContent = new Map<string, Promise<{ explained: ManifestClass[]; outcome: Outcome }>>();
  let done = 0;

  const explainOnce = async (content: Uint8Array, sha256: string) => {
    const stored = await session.find(folder, session.keyOf(sha256));
    if (stored) return { explained: stored, outcome: 'reused' as const };
    return {
      explained: await session.explain(folder, content, sha256, signal),
      outcome: 'computed' as const,
    };
  };

  const entryOf = async (input: string): Promise<ManifestEntry> => {
    try {
      const content = await readPicture(input, session.roots);
      signal.throwIfAborted();
      const sha256 = digestOf(content);
      const earlier = byContent.get(sha256);
      const result = earlier ?? explainOnce(content, sha256);
      byContent.set(sha256, result);
      const { explained, outcome } = await result;
      counts[earlier ? 'duplicates' : outcome]++;
      return { input, sha256, output: session.outputOf(session.keyOf(sha256)), explained };
    } catch (error) {
      if (signal.aborted || !(error instanceof GradCamError) || error.code !== 'ERR_IMAGE_LOAD') throw error;
      counts.failed++;
      const message = error.message.replace('the picture from memory', `'${input}'`);
      return { input, error: { code: error.code, message } };
    }
  };

  const entries = await pMap(
    images,
    async (input) => {
      signal.throwIfAborted();
      const entry = await entryOf(input);
      onProgress(++done);
      return entry;
    },
    // So many that while a batch is computed the next one is decoded. A picture that cannot be read for now, as of a network
    // disk that is gone, does not hold up the end.
    { concurrency: 2 * session.batchSize, signal },
  );
  return { entries, summary: { images: images.length, ...counts, startedAt, finishedAt: Date.now() } };
}

/** What is wrong with a path is the picture's fault; a file system that fails is not, and the chunk is tried again. */
const pictureFaults = new Set(['ENOENT', 'ENOTDIR', 'EISDIR', 'EACCES', 'EPERM', 'ELOOP', 'ENAMETOOLONG']);

async function readPicture(path: string, roots: Roots): Promise<Buffer> {
  try {
    return await readFile(await roots.admit(path));
  } catch (cause) {
    const { code = '', message } = cause as NodeJS.ErrnoException;
    if (!pictureFaults.has(code)) throw cause;
    throw new GradCamError('ERR_IMAGE_LOAD', `Cannot read '${path}': ${message}.`, {
      cause,
      details: { path },
    });
  }
}
