import { extname } from 'node:path';
import { Readable } from 'node:stream';
import sharp from 'sharp';
import { argumentOutOfRange, invalidArgumentType } from '../../errors/errors.js';
import { readOptions } from '../../errors/options.js';
import { filePath } from '../../files/file-path.js';
import { writeWholeFile } from '../../files/whole-file.js';
import { bytePixels, type RgbImage } from './rgb-image.js';

/** `'raw'`: the pixels themselves, row by row, 3 bytes each, or 4 with transparency. */
export type PictureFormat = 'png' | 'jpeg' | 'webp' | 'avif' | 'raw';

/** The formats by extension. @internal */
export const pictureFormats: Readonly<Record<string, PictureFormat>> = {
  '.png': 'png',
  '.jpg': 'jpeg',
  '.jpeg': 'jpeg',
  '.webp': 'webp',
  '.avif': 'avif',
  '.raw': 'raw',
};

export interface EncodeOptions {
  /** Of JPEG, WebP and AVIF, 1 to 100. Default: 90, 90 and 60. PNG and raw lose nothing and ignore it. */
  readonly quality?: number;
}

/** A drawn picture: RGB pixels that can be encoded, written or streamed. */
export class Picture implements RgbImage {
  readonly width: number;
  readonly height: number;
  /** Row by row, red, green and blue: `width * height * 3` bytes. */
  readonly rgb: Uint8Array;
  /** `width * height` bytes, 0 where nothing covers what is below; null for a picture that covers everything. */
  readonly alpha: Uint8Array | null;

  /** @internal */
  constructor(rgb: Uint8Array, width: number, height: number, alpha: Uint8Array | null = null) {
    // A Buffer's slice() does not copy, which would surprise those who were promised a Uint8Array.
    this.rgb = Buffer.isBuffer(rgb) ? new Uint8Array(rgb.buffer, rgb.byteOffset, rgb.length) : rgb;
    this.width = width;
    this.height = height;
    this.alpha = alpha;
  }

  /**
   * An image's pixels as a picture: what a model sees, `Picture.from(image)`, or pixels of your own.
   * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`
   */
  static from(image: RgbImage): Picture {
    return image instanceof Picture ? image : new Picture(bytePixels(image), image.width, image.height);
  }

  /**
   * The encoded picture.
   * @param format - default `'png'`. JPEG has no transparency: what shows through becomes white
   * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
   */
  async toBuffer(format: PictureFormat = 'png', options?: EncodeOptions): Promise<Buffer> {
    return await this.#encode(checkFormat(format), checkQuality(options));
  }

  /**
   * The encoded picture as a stream, encoded when it is read.
   * @param format - default `'png'`
   * @throws {TypeError|RangeError} as {@link toBuffer}, at once
   * @example picture.toStream('jpeg').pipe(response);
   */
  toStream(format: PictureFormat = 'png', options?: EncodeOptions): Readable {
    const encoding = [checkFormat(format), checkQuality(options)] as const;
    const encode = () => this.#encode(...encoding);
    async function* chunks() {
      yield await encode();
    }
    return Readable.from(chunks(), { objectMode: false });
  }

  /**
   * Writes the picture; the extension (.png, .jpg, .webp, .avif, .raw) chooses the format, and missing folders are made.
   * The file appears complete or not at all.
   * @param file - its path, or a `file:` URL
   * @throws {TypeError|RangeError} as {@link toBuffer}
   */
  async toFile(file: string | URL, options?: EncodeOptions): Promise<void> {
    const path = filePath(file);
    const format = typeof path === 'string' ? pictureFormats[extname(path).toLowerCase()] : undefined;
    if (format === undefined)
      throw invalidArgumentType('path', 'a file ending in .png, .jpg, .webp, .avif or .raw', path);
    await writeWholeFile(path, await this.toBuffer(format, options));
  }

  async #encode(format: PictureFormat, quality: number | undefined): Promise<Buffer> {
    const { width, height } = this;
    const pixels = this.alpha ? withAlpha(this.rgb, this.alpha) : this.rgb;
    if (format === 'raw') return Buffer.from(pixels);
    const image = sharp(pixels, { raw: { width, height, channels: this.alpha ? 4 : 3 } });
    if (format === 'png') return await image.png().toBuffer();
    // Colours in full resolution: heat has strong ones, and they would bleed.
    if (format === 'jpeg') {
      const jpeg = image.flatten({ background: 'white' });
      return await jpeg.jpeg({ quality: quality ?? 90, chromaSubsampling: '4:4:4' }).toBuffer();
    }
    if (format === 'webp')
      return await image.webp({ quality: quality ?? 90, smartSubsample: true }).toBuffer();
    return await image.avif({ quality: quality ?? 60 }).toBuffer();
  }
}

/**
 * Red, green, blue and alpha of each pixel.
 * @internal
 */
export function withAlpha(rgb: Uint8Array, alpha: Uint8Array): Uint8Array {
  const rgba = new Uint8Array(alpha.length * 4);
  for (let pixel = 0; pixel < alpha.length; pixel++) {
    rgba[pixel * 4] = rgb[pixel * 3] ?? 0;
    rgba[pixel * 4 + 1] = rgb[pixel * 3 + 1] ?? 0;
    rgba[pixel * 4 + 2] = rgb[pixel * 3 + 2] ?? 0;
    rgba[pixel * 4 + 3] = alpha[pixel] ?? 0;
  }
  return rgba;
}

function checkFormat(format: unknown): PictureFormat {
  if (Object.values(pictureFormats).includes(format as PictureFormat)) return format as PictureFormat;
  throw invalidArgumentType('format', "'png', 'jpeg', 'webp', 'avif' or 'raw'", format);
}

function checkQuality(options: EncodeOptions | undefined): number | undefined {
  const { quality } = readOptions<EncodeOptions>('encode options', options, ['quality']);
  if (quality !== undefined && !(Number.isInteger(quality) && quality >= 1 && quality <= 100))
    throw argumentOutOfRange('quality', 'an integer from 1 to 100', quality);
  return quality;
}
