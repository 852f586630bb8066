import { stat } from 'node:fs/promises';
import { canonicalJson, digestOf } from './specification.js';

/** Some pictures of a batch that one worker explains. */
export interface Chunk {
  /** The same pictures, unchanged, always give the same id. */
  readonly id: string;
  readonly images: readonly string[];
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

/** Size and time of change are part of the id: when a picture is replaced, its chunk is another one. */
async function toChunk(batch: string, images: readonly string[]): Promise<Chunk> {
  const files = await Promise.all(
    images.map(async (path) => {
      const info = await stat(path).catch(() => null);
      return info ? [path, info.size, info.mtimeMs] : [path];
    }),
  );
  return { id: digestOf(canonicalJson([batch, files])).slice(0, 32), images };
}
