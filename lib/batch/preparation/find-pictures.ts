import { readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import picomatch from 'picomatch';
import { GradCamError, invalidArgumentType } from '../../errors/errors.js';
import { isPictureFile } from '../../image/picture-kinds.js';
import { markOf } from '../specification/specification.js';

/** Where the pictures of a batch are. */
export interface PictureSources {
  /** Files, folders (all pictures below them), and patterns such as `photos/**\/*.jpg`. */
  readonly paths: readonly string[];
  /** More pictures: absolute paths. */
  readonly listed?: AsyncIterable<string>;
  /** A folder that is not looked into: the output. */
  readonly except: string;
}

/**
 * Absolute paths of the pictures, each once, in an order that is always the same. One at a time, so that millions need no
 * memory: of a folder only the names in it are held at once; several sources cost 32 bytes a path to tell repeats.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE` for a path that does not exist
 * @throws {GradCamError} `ERR_IMAGE_LOAD` for a folder that cannot be read
 */
export async function* findPictures({ paths, listed, except }: PictureSources): AsyncGenerator<string> {
  const sources: AsyncIterable<string>[] = paths.map((path) => picturesOf(path, resolve(except)));
  if (listed) sources.push(listed);
  const seen = sources.length > 1 || listed ? new Set<string>() : null;
  for (const source of sources) {
    for await (const path of source) {
      if (seen) {
        const mark = markOf(path);
        if (seen.has(mark)) continue;
        seen.add(mark);
      }
      yield path;
    }
  }
}

async function* picturesOf(path: string, except: string): AsyncGenerator<string> {
  const info = await stat(path).catch(() => null);
  if (info?.isDirectory()) yield* walk(resolve(path), except, isPictureFile);
  else if (info) yield resolve(path);
  else if (picomatch.scan(path).isGlob) {
    const matches = picomatch(resolve(path));
    const base = resolve(picomatch.scan(path).base);
    if (await stat(base).catch(() => null)) yield* walk(base, except, matches);
  } else throw invalidArgumentType('images', 'files, folders or patterns that exist', path);
}

/** Depth first, names in order. Linked files count, linked folders are not followed: they could go in circles. */
async function* walk(
  folder: string,
  except: string,
  matches: (path: string) => boolean | Promise<boolean>,
): AsyncGenerator<string> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((cause: Error) => {
    throw new GradCamError('ERR_IMAGE_LOAD', `Cannot read the folder '${folder}': ${cause.message}.`, {
      cause,
      details: { path: folder },
    });
  });
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (path === except) continue;
    if (entry.isDirectory()) yield* walk(path, except, matches);
    else if ((entry.isFile() || (await stat(path).catch(() => null))?.isFile()) && (await matches(path)))
      yield path;
  }
}
