import { LinesAside } from '../../files/lines.js';
import { type ChunkOfBatch, findFinished } from '../explaining/finish-chunk.js';
import type { PreparedBatch } from '../preparation/prepared-batch.js';
import type { Chunk } from '../specification/chunks.js';

/** The chunks of a batch, all found and put aside: then it is known how much there is to do, and done. */
export class FoundChunks implements AsyncDisposable {
  /** Images of each chunk, in order. */
  readonly sizes = new Map<string, number>();
  /** The first chunk that is to be done; null where none is. */
  first: Chunk | null = null;
  images = 0;
  /** Of chunks that were finished before. */
  imagesDone = 0;
  chunksDone = 0;
  readonly #batch: PreparedBatch;
  readonly #aside: LinesAside;

  private constructor(batch: PreparedBatch, aside: LinesAside) {
    this.#batch = batch;
    this.#aside = aside;
  }

  static async of(
    batch: PreparedBatch,
    onProgress: (found: { readonly images: number; readonly chunks: number }) => void,
  ): Promise<FoundChunks> {
    const found = new FoundChunks(batch, await LinesAside.open());
    try {
      for await (const chunk of batch.chunks()) {
        await found.#add(chunk);
        onProgress({ images: found.images, chunks: found.sizes.size });
      }
      return found;
    } catch (error) {
      await found[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #add(chunk: Chunk): Promise<void> {
    const { id, files } = chunk;
    this.sizes.set(id, files.length);
    this.images += files.length;
    await this.#aside.add(JSON.stringify(chunk));
    if (await findFinished(this.#ofBatch(chunk))) {
      this.chunksDone++;
      this.imagesDone += files.length;
    } else this.first ??= chunk;
  }

  async *all(): AsyncGenerator<ChunkOfBatch> {
    for await (const line of this.#aside.lines()) yield this.#ofBatch(JSON.parse(line) as Chunk);
  }

  #ofBatch(chunk: Chunk): ChunkOfBatch {
    const { id: batch, digest, folder } = this.#batch;
    return { ...chunk, batch, digest, folder };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#aside[Symbol.asyncDispose]();
  }
}
