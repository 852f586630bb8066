import { randomBytes } from 'node:crypto';
import { open, readdir, rename, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import pMap from 'p-map';
import { GradCamError, invalidArgumentType } from '../../errors/errors.js';
import { readOptions } from '../../errors/options.js';
import { markOf } from '../specification/specification.js';
import {
  batchFolder,
  chunkListPath,
  exists,
  type ManifestEntry,
  readChunkList,
  readChunkManifest,
  writing,
} from './folder.js';

export interface CollectedManifest {
  /** The file, absolute. */
  readonly manifest: string;
  /** Its lines: pictures with a result, and pictures with an error. */
  readonly images: number;
  /** Of these the pictures that could not be explained. */
  readonly failed: number;
  /** The first hundred of these. */
  readonly failures: readonly { readonly input: string; readonly message: string }[];
  /** Different results: pictures of the same content share one. */
  readonly results: number;
  /** Chunks that are not finished; their pictures are not in the manifest. */
  readonly missingChunks: number;
  readonly missingImages: number;
  /** Results that a manifest names and that are not there any more, at most a hundred; relative to the folder. */
  readonly missingResults: readonly string[];
}

export interface CollectOptions {
  /** Which batch, as `submitBatch` names it. Default: all of the folder. */
  readonly batch?: string;
}

/** A line of the collected manifest. */
export type CollectedEntry = ManifestEntry & {
  /** The first batch that the picture is in. */
  readonly batch: string;
};

/** Failures and missing results are told up to this many. */
const mostTold = 100;

/**
 * Puts the manifests of an output folder's finished chunks together, each picture once for every batch it is in, in the
 * order of submission, and checks that every result is there. The file `manifest.jsonl` appears complete or not at all.
 * @throws {GradCamError} `ERR_BATCH_FOLDER` where there is no batch, or a submission that did not end; `ERR_BATCH_CHANGED`
 *   where a file of a batch is damaged
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_UNKNOWN_OPTION`
 */
export async function collectManifest(folder: string, options?: CollectOptions): Promise<CollectedManifest> {
  if (typeof folder !== 'string') throw invalidArgumentType('folder', 'a path', folder);
  const { batch: wanted } = readOptions<CollectOptions>('collect options', options, ['batch']);
  const root = resolve(folder);
  return await collect(root, await batchesIn(root, wanted));
}

/** As `collectManifest`, of those batches of a folder whose submission ended. */
export async function collectSubmitted(root: string): Promise<CollectedManifest> {
  const batches: string[] = [];
  for (const batch of await allBatches(root))
    if (await exists(chunkListPath(root, batch))) batches.push(batch);
  return await collect(root, batches.sort());
}

async function collect(root: string, batches: readonly string[]): Promise<CollectedManifest> {
  const path = join(root, 'manifest.jsonl');
  const unfinished = `${path}.${randomBytes(4).toString('hex')}.tmp`;
  const totals = { images: 0, failed: 0, missingChunks: 0, missingImages: 0 };
  const missingResults: string[] = [];
  const failures: { input: string; message: string }[] = [];
  const results = new Set<string>();
  // Two batches of the same options may share pictures.
  const seen = batches.length > 1 ? new Set<string>() : null;
  const file = await writing(root, () => open(unfinished, 'w'));
  try {
    for (const batch of batches) {
      for await (const { chunk, images } of readChunkList(root, batch)) {
        const entries = await readChunkManifest(root, batch, chunk);
        if (!entries) {
          totals.missingChunks++;
          totals.missingImages += images;
          continue;
        }
        const fresh = entries.filter((entry) => isNew(entry, seen));
        const lines = fresh.map((entry) => `${JSON.stringify({ batch, ...entry })}\n`);
        await writing(root, () => file.appendFile(lines.join('')));
        totals.images += fresh.length;
        for (const entry of fresh) {
          if ('output' in entry) continue;
          totals.failed++;
          if (failures.length < mostTold) failures.push({ input: entry.input, message: entry.error.message });
        }
        await pMap(
          fresh,
          async (entry) => {
            if (!('output' in entry) || results.has(markOf(entry.output))) return;
            results.add(markOf(entry.output));
            if (!(await exists(join(root, entry.output))) && missingResults.length < mostTold)
              missingResults.push(entry.output);
          },
          { concurrency: 16 },
        );
      }
    }
    await writing(root, () => file.sync());
    await file.close();
    await rename(unfinished, path);
  } catch (error) {
    await file.close().catch(() => {});
    await rm(unfinished, { force: true });
    throw error;
  }
  return { manifest: path, ...totals, failures, results: results.size, missingResults };
}

async function allBatches(root: string): Promise<string[]> {
  return await readdir(join(root, 'batches')).catch((cause: Error) => {
    throw new GradCamError(
      'ERR_BATCH_FOLDER',
      `'${root}' is not the output folder of a batch: ${cause.message}.`,
      { cause, details: { path: root } },
    );
  });
}

async function batchesIn(root: string, wanted: string | undefined): Promise<string[]> {
  const all = await allBatches(root);
  const names = wanted === undefined ? all : all.filter((name) => name === wanted);
  if (wanted !== undefined && names.length === 0)
    throw invalidArgumentType('batch', `a batch of the folder (${all.join(', ') || 'it has none'})`, wanted);
  for (const batch of names) {
    if (await exists(chunkListPath(root, batch))) continue;
    throw new GradCamError(
      'ERR_BATCH_FOLDER',
      `The submission of the batch '${batch}' did not end. Submit it again (or delete '${batchFolder(root, batch)}').`,
      { details: { path: batchFolder(root, batch) } },
    );
  }
  return names.sort();
}

function isNew(entry: ManifestEntry, seen: Set<string> | null): boolean {
  if (!seen) return true;
  const what = 'output' in entry ? entry.output : 'error';
  const mark = markOf(`${entry.input}\0${what}`);
  if (seen.has(mark)) return false;
  seen.add(mark);
  return true;
}
