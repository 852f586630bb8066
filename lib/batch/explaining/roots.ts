import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, sep } from 'node:path';
import { GradCamError, invalidArgumentType } from '../../errors/errors.js';

/** The folders that bound what is read and written; of none, nothing is bounded. */
export class Roots {
  static readonly none: Roots = new Roots([]);
  readonly #folders: readonly string[];

  private constructor(folders: readonly string[]) {
    this.#folders = folders;
  }

  /** @throws {TypeError} `ERR_INVALID_ARG_TYPE` for what is no folder */
  static async of(folders: readonly string[]): Promise<Roots> {
    const real = folders.map(async (folder) => {
      const info = await stat(folder).catch(() => null);
      if (!info?.isDirectory()) throw invalidArgumentType('roots', 'folders that exist', folder);
      return await realpath(folder);
    });
    return new Roots(await Promise.all(real));
  }

  /**
   * The path to use in place of one that came from elsewhere: with its links followed, so that what was checked is what is
   * opened. It need not exist.
   * @throws {GradCamError} `ERR_BATCH_ROOT` where that is in none of the folders
   */
  async admit(path: string): Promise<string> {
    if (this.#folders.length === 0) return path;
    const real = await followLinks(path);
    const isInside = this.#folders.some((root) => real === root || real.startsWith(join(root, sep)));
    if (isInside) return real;
    throw new GradCamError(
      'ERR_BATCH_ROOT',
      `'${path}' is in none of the folders that this worker may read and write (--root): ${this.#folders.join(', ')}.`,
      { details: { path } },
    );
  }
}

/** Of a path that does not exist, the links of the folders that do are followed. */
async function followLinks(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    const parent = dirname(path);
    const { code } = error as NodeJS.ErrnoException;
    if (parent === path || (code !== 'ENOENT' && code !== 'ENOTDIR')) throw error;
    return join(await followLinks(parent), basename(path));
  }
}
