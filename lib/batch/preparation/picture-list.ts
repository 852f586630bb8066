import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { addAbortSignal } from 'node:stream';
import { invalidArgumentType } from '../../errors/errors.js';
import { LinesAside, linesOf } from '../../files/lines.js';

/**
 * A list of pictures, read to its end: which batch it makes is known only then, since another list is another batch. The
 * paths are put aside, for standard input can be read once.
 */
export class PictureList implements AsyncDisposable {
  /** Hexadecimal SHA-256 of the paths. */
  readonly digest: string;
  readonly #paths: LinesAside;

  private constructor(digest: string, paths: LinesAside) {
    this.digest = digest;
    this.#paths = paths;
  }

  /**
   * @param list a text file with one path a line, or `-` for standard input
   * @param signal ends the waiting for standard input as well
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE` for what is no file
   */
  static async read(list: string, signal: AbortSignal | undefined): Promise<PictureList> {
    if (list !== '-' && !(await stat(list).catch(() => null))?.isFile())
      throw invalidArgumentType('list', 'a file with one path a line', list);
    signal?.throwIfAborted();
    const input = list === '-' ? process.stdin : createReadStream(list);
    if (signal) addAbortSignal(signal, input);
    const paths = await LinesAside.open();
    const hash = createHash('sha256');
    try {
      for await (const line of linesOf(input)) {
        if (line.trim() === '') continue;
        const path = resolve(line.trim());
        hash.update(`${path}\n`);
        await paths.add(path);
      }
    } catch (error) {
      await paths[Symbol.asyncDispose]();
      signal?.throwIfAborted(); // with its own reason
      throw error;
    }
    return new PictureList(hash.digest('hex'), paths);
  }

  /** Absolute paths, in the list's order. */
  paths(): AsyncGenerator<string> {
    return this.#paths.lines();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#paths[Symbol.asyncDispose]();
  }
}
