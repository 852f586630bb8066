import { randomBytes } from 'node:crypto';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, extname } from 'node:path';
import sharp from 'sharp';
import { invalidArgumentType } from '../errors.js';

export type PictureFormat = 'png' | 'jpeg' | 'webp' | 'avif';

const formats: Record<string, PictureFormat> = {
  '.png': 'png',
  '.jpg': 'jpeg',
  '.jpeg': 'jpeg',
  '.webp': 'webp',
  '.avif': 'avif',
};

/** A drawn picture: RGB pixels that can be encoded or written. */
export class Picture {
  readonly width: number;
  readonly height: number;
  /** Row by row, red, green and blue: `width * height * 3` bytes. */
  readonly rgb: Uint8Array;

  /** @internal */
  constructor(rgb: Uint8Array, width: number, height: number) {
    this.rgb = rgb;
    this.width = width;
    this.height = height;
  }

  /** The encoded picture. */
  async toBuffer(format: PictureFormat = 'png'): Promise<Buffer> {
    if (!Object.values(formats).includes(format)) {
      throw invalidArgumentType('format', "'png', 'jpeg', 'webp' or 'avif'", format);
    }
    const raw = { width: this.width, height: this.height, channels: 3 as const };
    return await sharp(this.rgb, { raw }).toFormat(format).toBuffer();
  }

  /**
   * Writes the picture; the extension (.png, .jpg, .webp, .avif) chooses the format, and missing folders are made. The
   * file appears complete or not at all.
   */
  async toFile(path: string): Promise<void> {
    const format = formats[extname(path).toLowerCase()];
    if (format === undefined)
      throw invalidArgumentType('path', 'a file ending in .png, .jpg, .webp or .avif', path);
    const encoded = await this.toBuffer(format);
    await mkdir(dirname(path), { recursive: true });
    const unfinished = `${path}.${randomBytes(4).toString('hex')}.tmp`;
    try {
      await writeFile(unfinished, encoded);
      await rename(unfinished, path);
    } catch (error) {
      await rm(unfinished, { force: true });
      throw error;
    }
  }
}
