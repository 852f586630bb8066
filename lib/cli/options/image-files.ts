import { readdir, stat } from 'node:fs/promises';
import { basename, extname, join, resolve } from 'node:path';
import pMap from 'p-map';
import { UsageError } from '../../errors/usage-error.js';
import { isPictureFile } from '../../image/picture-kinds.js';

/** The files, and for a folder the pictures in it, sorted. */
export async function findImages(paths: readonly string[]): Promise<string[]> {
  const images: string[] = [];
  for (const path of paths) {
    const info = await stat(path).catch(() => null);
    if (info === null) throw new UsageError(`There is no file or folder '${path}'.`);
    if (!info.isDirectory()) {
      images.push(path);
      continue;
    }
    const inside = (await readdir(path)).sort();
    const pictures = await pMap(inside, (name) => isPictureFile(join(path, name)), { concurrency: 16 });
    const names = inside.filter((_, index) => pictures[index]);
    if (names.length === 0) throw new UsageError(`There are no pictures in the folder '${path}'.`);
    images.push(...names.map((name) => join(path, name)));
  }
  return images;
}

/**
 * Where each image's result goes: one image to `output` if that names a file, else `<name>-gradcam.png` (or another format)
 * in the folder `output` (or the current one), numbered where names meet. Never over one of the images.
 */
export function outputFiles(
  images: readonly string[],
  output: string | undefined,
  format?: string,
): string[] {
  if (output !== undefined && /\.(png|jpe?g|webp|avif|npy|json)$/i.test(output)) {
    if (images.length > 1)
      throw new UsageError(`--output '${output}' is one file, but there are ${images.length} images.`);
    if (images.some((image) => resolve(image) === resolve(output)))
      throw new UsageError(`--output '${output}' would overwrite the image itself.`);
    if (format !== undefined)
      throw new UsageError(`--format is for folders; --output '${output}' says its format itself.`);
    return [output];
  }
  const taken = new Set(images.map((image) => resolve(image)));
  return images.map((image) => {
    const stem = join(output ?? '.', `${basename(image, extname(image))}-gradcam`);
    let path = `${stem}.${format ?? 'png'}`;
    for (let number = 2; taken.has(resolve(path)); number++) path = `${stem}-${number}.${format ?? 'png'}`;
    taken.add(resolve(path));
    return path;
  });
}
