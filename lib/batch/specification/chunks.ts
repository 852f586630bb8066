import { stat } from 'node:fs/promises';
import { canonicalJson, digestOf } from './specification.js';

/** A picture's path; where it is there, also its size in bytes and the time of its last change. */
export type PictureFile = readonly [path: string] | readonly [path: string, size: number, mtimeMs: number];

/** Some pictures of a batch that are explained together. */
export interface Chunk {
  /** The same pictures, unchanged, always give the same id. */
  readonly id: string;
  readonly files: readonly PictureFile[];
}

/** Cuts the stream of paths into chunks. */
export async function* chunksOf(
  paths: AsyncIterable<string>,
  batch: string,
  size: number,
): AsyncGenerator<Chunk> {
  let images: string[] = [];
  for await (const path of paths) {
    images.push(path);
    if (images.length < size) continue;
    yield await toChunk(batch, images);
    images = [];
  }
  if (images.length > 0) yield await toChunk(batch, images);
}

async function toChunk(batch: string, images: readonly string[]): Promise<Chunk> {
  const files = await Promise.all(
    images.map(async (path): Promise<PictureFile> => {
      const info = await stat(path).catch(() => null);
      return info ? [path, info.size, info.mtimeMs] : [path];
    }),
  );
  return { id: chunkId(batch, files), files };
}

/** Size and time of change are part of the id: when a picture is replaced, its chunk is another one. */
export function chunkId(batch: string, files: readonly PictureFile[]): string {
  return digestOf(canonicalJson([batch, files])).slice(0, 32);
}
