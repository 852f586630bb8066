import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { basename, extname, join, relative, resolve, sep } from 'node:path';
import { createInterface } from 'node:readline';
import picomatch from 'picomatch';
import { GradCamError, invalidArgumentType } from '../errors/errors.js';
import { isPictureFile } from './picture-kinds.js';

/** Where pictures are. */
export interface PictureSources {
  /** Files, folders (all pictures below them), and patterns such as `photos/**\/*.jpg`. */
  readonly paths: readonly string[];
  /** A text file with one path a line, or `-` for standard input. */
  readonly list?: string;
  /** A folder that is not looked into: the output. */
  readonly except?: string;
  /** Ends the waiting for standard input as well. */
  readonly signal?: AbortSignal;
}

/**
 * Paths of the pictures, below those that were given and in an order that is always the same; of several sources each picture
 * once. One at a time, so that millions need no memory: of a folder only the names in it are held at once; several sources cost
 * 32 bytes a path to tell repeats. Pictures that the command line drew ({@link isOwnResult}) are left out, unless they are named.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE` for a path that does not exist
 * @throws {GradCamError} `ERR_IMAGE_LOAD` for a folder that cannot be read
 * @internal
 */
export async function* findPictures({ paths, list, except, signal }: PictureSources): AsyncGenerator<string> {
  const output = except === undefined ? null : resolve(except);
  const sources = paths.map((path) => picturesOf(path, output));
  if (list !== undefined) sources.push(listed(list, signal));
  const seen = sources.length > 1 || list !== undefined ? new Set<string>() : null;
  for (const source of sources) {
    for await (const path of source) {
      if (seen) {
        const mark = createHash('sha256').update(resolve(path)).digest().toString('latin1');
        if (seen.has(mark)) continue;
        seen.add(mark);
      }
      yield path;
    }
  }
}

/**
 * Whether a file is one that the command line draws, by its name: `cat-gradcam.png`, `cat-gradcam-2.png`. A second run in one
 * folder must not explain the pictures of the first.
 * @internal
 */
export function isOwnResult(path: string): boolean {
  return /.-gradcam(-\d+)?$/.test(basename(path, extname(path)));
}

async function* picturesOf(path: string, except: string | null): AsyncGenerator<string> {
  const info = await stat(path).catch(() => null);
  if (info?.isDirectory()) yield* walk(path, except, isPictureFile);
  else if (info) yield path;
  else {
    const { isGlob, base, glob } = picomatch.scan(path);
    if (!isGlob) throw invalidArgumentType('images', 'files, folders or patterns that exist', path);
    const folder = base === '' ? '.' : base;
    const isMatch = picomatch(glob);
    const matches = (found: string) => isMatch(relative(folder, found).replaceAll(sep, '/'));
    if (await stat(folder).catch(() => null)) yield* walk(folder, except, matches);
  }
}

/** Depth first, names in order. Linked files count, linked folders are not followed: they could go in circles. */
async function* walk(
  folder: string,
  except: string | null,
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
    if (except !== null && resolve(path) === except) continue;
    if (entry.isDirectory()) yield* walk(path, except, matches);
    else if (isOwnResult(path)) continue;
    else if ((entry.isFile() || (await stat(path).catch(() => null))?.isFile()) && (await matches(path)))
      yield path;
  }
}

async function* listed(list: string, signal: AbortSignal | undefined): AsyncGenerator<string> {
  if (list !== '-' && !(await stat(list).catch(() => null))?.isFile())
    throw invalidArgumentType('list', 'a file with one path a line', list);
  const input = list === '-' ? process.stdin : createReadStream(list);
  const lines = createInterface({
    input,
    crlfDelay: Number.POSITIVE_INFINITY,
    ...(signal === undefined ? {} : { signal }),
  });
  for await (const line of lines) {
    if (line.trim() !== '') yield line.trim();
  }
  signal?.throwIfAborted(); // It ends the lines as if there were no more.
}
