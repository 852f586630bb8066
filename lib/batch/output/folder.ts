import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { packageVersion } from '../../addon/package-version.js';
import type { ClassReport } from '../../cam/explanation-report.js';
import { GradCamError } from '../../errors/errors.js';
import { linesOf } from '../../files/lines.js';
import { writeWholeFile } from '../../files/whole-file.js';
import {
  type BatchFormat,
  type BatchSpecification,
  batchDigest,
  batchId,
  specificationSchema,
} from '../specification/specification.js';

// The output folder is the truth about what is done; Redis only hands out the work.
//
//   batches/<batch>/batch.json      what is computed
//   batches/<batch>/chunks.jsonl    its chunks, in order: { chunk, images }
//   batches/<batch>/<chunk>.jsonl   of a finished chunk, an entry per picture
//   results/<ab>/<key>.png (.npy)   of one content, by the hash of content, model and options
//   results/<ab>/<key>.record.json  its classes and scores; written last
//   manifest.jsonl                  all entries, from `collect`

/** A class that was explained, as a manifest tells it. */
export interface ManifestClass extends ClassReport {
  /** The value that was differentiated: the class's output before any softmax. */
  readonly score: number;
  /** False where nothing speaks for the class: the map is zero everywhere. */
  readonly hasPositiveEvidence: boolean;
}

/** A line of a manifest: what became of one picture. */
export type ManifestEntry =
  | {
      /** Absolute path. */
      readonly input: string;
      /** SHA-256 of the file's content. */
      readonly sha256: string;
      /** Relative to the output folder. */
      readonly output: string;
      readonly explained: readonly ManifestClass[];
    }
  | { readonly input: string; readonly error: { readonly code: string; readonly message: string } };

export function batchFolder(folder: string, batch: string): string {
  return join(folder, 'batches', batch);
}

export function specificationPath(folder: string, batch: string): string {
  return join(batchFolder(folder, batch), 'batch.json');
}

export function chunkManifestPath(folder: string, batch: string, chunk: string): string {
  return join(batchFolder(folder, batch), `${chunk}.jsonl`);
}

export function chunkListPath(folder: string, batch: string): string {
  return join(batchFolder(folder, batch), 'chunks.jsonl');
}

/** Of a result the file that holds its figures; it is written last, so where it is, the result is complete. */
export function recordPath(key: string): string {
  return join('results', key.slice(0, 2), `${key}.record.json`);
}

/** Of a result the file that people want. */
export function resultPath(key: string, format: BatchFormat): string {
  return format === 'none' ? recordPath(key) : join('results', key.slice(0, 2), `${key}.${format}`);
}

/** These will not pass by themselves: the disk is full, or the folder is not this process's to write. */
const lastingFaults = new Set([
  'EACCES',
  'EPERM',
  'EROFS',
  'ENOSPC',
  'EDQUOT',
  'ENOTDIR',
  'ENOENT',
  'EEXIST',
]);

/**
 * Runs what writes into the output folder.
 * @throws {GradCamError} `ERR_BATCH_FOLDER` where writing again is as useless; else what the file system says
 */
export async function writing<T>(folder: string, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException;
    if (!lastingFaults.has(code)) throw error;
    throw folderError(
      `Cannot write into the output folder '${folder}': ${message}. Free space or give this process the right to write`,
      folder,
      error,
    );
  }
}

export async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => null)) !== null;
}

/** @throws {GradCamError} `ERR_BATCH_FOLDER` where it cannot be written */
export async function writeSpecification(
  folder: string,
  batch: string,
  specification: BatchSpecification,
): Promise<void> {
  const path = specificationPath(folder, batch);
  await writing(folder, () => writeWholeFile(path, `${JSON.stringify(specification, null, 2)}\n`));
}

/**
 * What a batch computes.
 * @param digest of the whole batch
 * @throws {GradCamError} `ERR_BATCH_FOLDER` where the folder is not there, `ERR_BATCH_CHANGED` where it is and the batch
 *   was deleted or edited, `ERR_BATCH_VERSION`
 */
export async function readSpecification(folder: string, digest: string): Promise<BatchSpecification> {
  const batch = batchId(digest);
  const path = specificationPath(folder, batch);
  let content: unknown;
  try {
    content = JSON.parse(await readFile(path, 'utf8'));
  } catch (cause) {
    const { message } = cause as Error;
    // Where not even the folder of all batches is, it is not mounted here.
    if (cause instanceof SyntaxError || (await exists(join(folder, 'batches'))))
      throw changedError(path, message, cause);
    throw folderError(
      `Cannot read '${path}': ${message}. The output folder must be at the same path for all workers. If it was deleted, cancel the batch ${batch}`,
      path,
      cause,
    );
  }
  checkVersion((content as { version?: unknown } | null)?.version);
  const parsed = specificationSchema.safeParse(content);
  if (!parsed.success) throw changedError(path, parsed.error.issues[0]?.message ?? '', parsed.error);
  if (batchDigest(parsed.data, folder) !== digest) throw changedError(path, 'it was edited', null);
  return parsed.data;
}

function changedError(path: string, reason: string, cause: unknown): GradCamError {
  return new GradCamError(
    'ERR_BATCH_CHANGED',
    `'${path}' is not as it was submitted: ${reason}. Submit the batch again.`,
    { cause, details: { path } },
  );
}

/** Of a file of the batch that this library wrote, and that holds something else by now. */
function damagedError(path: string, cause: unknown): GradCamError {
  return new GradCamError(
    'ERR_BATCH_CHANGED',
    `'${path}' is damaged. Delete it, and submit the batch, or run it, again.`,
    { cause, details: { path } },
  );
}

/** @throws {GradCamError} `ERR_BATCH_VERSION` */
export function checkVersion(version: unknown): void {
  if (version === packageVersion) return;
  throw new GradCamError(
    'ERR_BATCH_VERSION',
    `The batch was submitted by node-gradcam ${String(version)}, and this is ${packageVersion}. Use the same version for submit and work, or cancel the batch and submit again with this one.`,
  );
}

function folderError(message: string, path: string, cause: unknown): GradCamError {
  return new GradCamError('ERR_BATCH_FOLDER', `${message}.`, { cause, details: { path } });
}

/** Writes what became of a chunk's pictures: that makes the chunk done. */
export async function writeChunkManifest(
  folder: string,
  batch: string,
  chunk: string,
  entries: readonly ManifestEntry[],
): Promise<void> {
  const lines = entries.map((entry) => `${JSON.stringify(entry)}\n`);
  await writing(folder, () => writeWholeFile(chunkManifestPath(folder, batch, chunk), lines.join('')));
}

/** As much of an entry as is relied on. */
const entrySchema = z.union([
  z.looseObject({ input: z.string(), output: z.string(), explained: z.array(z.looseObject({})) }),
  z.looseObject({ input: z.string(), error: z.looseObject({ code: z.string(), message: z.string() }) }),
]);

/**
 * The entries of a finished chunk; null where it is not finished.
 * @throws {GradCamError} `ERR_BATCH_FOLDER` where the file cannot be read, `ERR_BATCH_CHANGED` where it is damaged
 */
export async function readChunkManifest(
  folder: string,
  batch: string,
  chunk: string,
): Promise<ManifestEntry[] | null> {
  const path = chunkManifestPath(folder, batch, chunk);
  try {
    const text = await readFile(path, 'utf8');
    return text
      .trimEnd()
      .split('\n')
      .map((line) => entrySchema.parse(JSON.parse(line)) as unknown as ManifestEntry);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    if (error instanceof SyntaxError || error instanceof z.ZodError) throw damagedError(path, error);
    throw folderError(`Cannot read '${path}': ${(error as Error).message}`, path, error);
  }
}

const listedSchema = z.object({
  chunk: z.string().regex(/^[0-9a-f]{32}$/),
  images: z.number().int().positive(),
});

/** Writes which chunks a batch has, in order: that ends its submission. */
export async function writeChunkList(
  folder: string,
  batch: string,
  chunks: ReadonlyMap<string, number>,
): Promise<void> {
  const lines = Array.from(chunks, ([chunk, images]) => `${JSON.stringify({ chunk, images })}\n`);
  await writing(folder, () => writeWholeFile(chunkListPath(folder, batch), lines.join('')));
}

/** @throws {GradCamError} `ERR_BATCH_CHANGED` where the list is damaged */
export async function* readChunkList(
  folder: string,
  batch: string,
): AsyncGenerator<{ chunk: string; images: number }> {
  const path = chunkListPath(folder, batch);
  for await (const line of linesOf(createReadStream(path))) {
    yield parseListed(path, line);
  }
}

function parseListed(path: string, line: string): z.infer<typeof listedSchema> {
  try {
    return listedSchema.parse(JSON.parse(line));
  } catch (cause) {
    throw damagedError(path, cause);
  }
}
