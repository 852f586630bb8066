import { stat } from 'node:fs/promises';
import { basename, extname, join, resolve } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { unlessAborted } from '../../errors/options.js';
import { UsageError } from '../../errors/usage-error.js';
import { writeWholeFile } from '../../files/whole-file.js';
import { findPictures } from '../../image/find-pictures.js';
import { type LoadedImage, loadImage } from '../../image/load-image.js';
import type { LoadImageOptions } from '../../image/options.js';

/** What an argument of images may be, for help. */
export const imagesHelp =
  "image files, folders with all below them, or patterns: 'photos/**/*.jpg'; - for standard input";

/** What is told of results in every help that has images. */
export const resultsHelp =
  'file to write (.png .jpg .webp .avif, raw values: .npy .json), folder, or - for standard output; default: this folder';

/** The image that is read from standard input, and the result that goes to standard output. */
export const standardStream = '-';

/** The files, for a folder the pictures below it, for a pattern what it matches; `-` stays. */
export async function findImages(paths: readonly string[]): Promise<string[]> {
  if (paths.filter((path) => path === standardStream).length > 1)
    throw new UsageError("Standard input ('-') is one image; give it once.");
  const images: string[] = [];
  for (const path of paths) {
    if (path === standardStream) {
      images.push(path);
      continue;
    }
    const info = await stat(path).catch(() => null);
    const before = images.length;
    if (info === null && !isPattern(path)) throw new UsageError(`There is no file or folder '${path}'.`);
    for await (const picture of findPictures({ paths: [path] })) images.push(picture);
    if (images.length > before) continue;
    throw new UsageError(
      info === null
        ? `No file matches the pattern '${path}'.`
        : `There are no pictures in the folder '${path}'.`,
    );
  }
  return images;
}

/** One image for commands that take one. */
export async function findImage(path: string): Promise<string> {
  const [image = path, ...more] = await findImages([path]);
  if (more.length > 0)
    throw new UsageError(`'${path}' stands for ${more.length + 1} images, and this command takes one.`);
  return image;
}

function isPattern(path: string): boolean {
  return /[*?[\]{}()!]/.test(path);
}

/** A picture of a file, or of standard input. */
export async function readImage(
  path: string,
  prepare: LoadImageOptions,
  signal: AbortSignal,
): Promise<LoadedImage> {
  if (path !== standardStream) return await loadImage(path, prepare);
  if (process.stdin.isTTY) throw new UsageError("'-' reads an image from standard input, and there is none.");
  const bytes = await unlessAborted(signal, (onAbort) => {
    onAbort(() => process.stdin.destroy());
    return buffer(process.stdin);
  });
  return await loadImage(bytes, prepare);
}

const extensions = /\.(png|jpe?g|webp|avif|npy|json)$/i;

/**
 * Where each image's result goes: one image to `output` if that names a file or is `-`, else `<name>-gradcam.png` (or another
 * format) in the folder `output` (or the current one), numbered in the order of the images' paths where names meet, also where
 * they differ only in upper and lower case. Never over one of the images.
 */
export function outputFiles(
  images: readonly string[],
  output: string | undefined,
  {
    format,
    json = false,
  }: { readonly format?: string | undefined; readonly json?: boolean | undefined } = {},
): string[] {
  if (output === standardStream && json)
    throw new UsageError("--json and --output '-' both need standard output; give one of them.");
  if (output !== undefined && (output === standardStream || extensions.test(output))) {
    const what = output === standardStream ? 'is standard output' : 'is one file';
    if (images.length > 1)
      throw new UsageError(`--output '${output}' ${what}, but there are ${images.length} images.`);
    if (output === standardStream) return [output];
    if (images.some((image) => resolve(image) === resolve(output)))
      throw new UsageError(`--output '${output}' would overwrite the image itself.`);
    if (format !== undefined)
      throw new UsageError(`--format is for folders; --output '${output}' says its format itself.`);
    return [output];
  }
  const keyOf = (path: string) => resolve(path).normalize().toLowerCase();
  const taken = new Set(images.map(keyOf));
  const outputs: string[] = [];
  const order = images.map((image, index) => ({ path: resolve(image), image, index }));
  order.sort((a, b) => (a.path === b.path ? a.index - b.index : a.path < b.path ? -1 : 1));
  for (const { image, index } of order) {
    const name = image === standardStream ? 'stdin' : basename(image, extname(image));
    const stem = join(output ?? '.', `${name}-gradcam`);
    let path = `${stem}.${format ?? 'png'}`;
    for (let number = 2; taken.has(keyOf(path)); number++) path = `${stem}-${number}.${format ?? 'png'}`;
    taken.add(keyOf(path));
    outputs[index] = path;
  }
  return outputs;
}

/**
 * Writes a result to its file, there whole or not at all, or to standard output.
 * @param encode - makes the bytes of a format, as {@link outputFiles}' extensions spell it
 */
export async function writeResult(
  output: string,
  format: string | undefined,
  encode: (format: string) => Promise<Uint8Array | string>,
): Promise<void> {
  if (output !== standardStream)
    return await writeWholeFile(output, await encode(extname(output).slice(1).toLowerCase()));
  const bytes = await encode(format ?? 'png');
  await new Promise<void>((resolve, reject) => {
    process.stdout.write(bytes, (error) => (error ? reject(error) : resolve()));
  });
}
