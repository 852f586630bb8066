import { extname } from 'node:path';

const pictureExtensions = new Set(['.jpg', '.jpeg', '.png', '.webp', '.avif', '.tif', '.tiff', '.gif']);

/**
 * Whether a file's name is that of a picture that `loadImage` reads. What stands for a whole folder takes these only.
 * @internal
 */
export function isPictureFile(name: string): boolean {
  return pictureExtensions.has(extname(name).toLowerCase());
}
