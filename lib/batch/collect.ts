import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, readdir, rename, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import pMap from 'p-map';
import { GradCamError, invalidArgumentType } from '../errors.js';
import {
  batchFolder,
  chunkListPath,
  exists,
  type ManifestEntry,
  readChunkManifest,
} from './output-folder.js';
import { markOf } from './specification.js';

export interface CollectedManifest {
  /** The file, absolute. */
  readonly manifest: string;
  /** Its lines: pictures with a result, and pictures with an error. */
  readonly images: number;
  /** Of these the pictures that could not be explained. */
  readonly failed: number;
  /** Different results: pictures of the same content share one. */
  readonly results: number;
  /** Chunks that are not finished; their pictures are not in the manifest. */
  readonly missingChunks: number;
  readonly missingImages: number;
  /** Results that a manifest names and that are not there any more, at most a hundred; relative to the folder. */
  readonly missingResults: readonly string[];
}

/**
 * Puts the manifests of an output folder's finished chunks together, each picture once for every batch it is in, in the
 * order of submission, and checks that every result is there. The file `manifest.jsonl` appears complete or not at all.
 * @throws {GradCamError} `ERR_BATCH_FOLDER` where there is no batch, or a submission that did not end
 */
export async function collectManifest(folder: string): Promise<CollectedManifest> {
  if (typeof folder !== 'string') throw invalidArgumentType('folder', 'a path', folder);
  const root = resolve(folder);
  const batches = await batchesIn(root);
  const path = join(root, 'manifest.jsonl');
  const unfinished = `${path}.${randomBytes(4).toString('hex')}.tmp`;
  const totals = { images: 0, failed: 0, missingChunks: 0, missingImages: 0 };
  const missingResults: string[] = [];
  const results = new Set<string>();
  // Two batches of the same options may share pictures.
  const seen = batches.length > 1 ? new Set<string>() : null;
  const file = await open(unfinished, 'w');
  try {
    for (const batch of batches) {
      for await (const { chunk, images } of chunksListed(root, batch)) {
        const entries = await readChunkManifest(root, batch, chunk);
        if (!entries) {
          totals.missingChunks++;
          totals.missingImages += images;
          continue;
        }
        const fresh = entries.filter((entry) => isNew(entry, seen));
        await file.write(fresh.map((entry) => `${JSON.stringify(entry)}\n`).join(''));
        totals.images += fresh.length;
        totals.failed += fresh.filter((entry) => 'error' in entry).length;
        await pMap(
          fresh,
          async (entry) => {
            if (!('output' in entry) || results.has(markOf(entry.output))) return;
            results.add(markOf(entry.output));
            if (!(await exists(join(root, entry.output))) && missingResults.length < 100)
              missingResults.push(entry.output);
          },
          { concurrency: 16 },
        );
      }
    }
    await file.sync();
    await file.close();
    await rename(unfinished, path);
  } catch (error) {
    await file.close().catch(() => {});
    await rm(unfinished, { force: true });
    throw error;
  }
  return { manifest: path, ...totals, results: results.size, missingResults };
}

async function batchesIn(root: string): Promise<string[]> {
  const names = await readdir(join(root, 'batches')).catch((cause: Error) => {
    throw new GradCamError(
      'ERR_BATCH_FOLDER',
      `'${root}' is not the output folder of a batch: ${cause.message}.`,
      { cause, details: { path: root } },
    );
  });
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

async function* chunksListed(root: string, batch: string): AsyncGenerator<{ chunk: string; images: number }> {
  const input = createReadStream(chunkListPath(root, batch));
  for await (const line of createInterface({ input })) yield JSON.parse(line);
}

function isNew(entry: ManifestEntry, seen: Set<string> | null): boolean {
  if (!seen) return true;
  const what = 'output' in entry ? entry.output : 'error';
  const mark = markOf(`${entry.input}\0${what}`);
  if (seen.has(mark)) return false;
  seen.add(mark);
  return true;
}
