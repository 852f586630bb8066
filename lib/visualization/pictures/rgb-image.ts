import { argumentOutOfRange, invalidArgumentType } from '../../errors/errors.js';

/** RGB pixels, row by row: bytes, or floats from 0 to 1. A `LoadedImage` is one, and so is a `Picture`. */
export interface RgbImage {
  readonly rgb: Uint8Array | Float32Array;
  readonly width: number;
  readonly height: number;
}

/** @internal */
export function checkImage(image: RgbImage): void {
  const { rgb, width, height } = image ?? {};
  if (!(rgb instanceof Uint8Array || rgb instanceof Float32Array)) {
    throw invalidArgumentType('image', 'a LoadedImage or { rgb, width, height }', image);
  }
  if (!(Number.isInteger(width) && width > 0)) throw argumentOutOfRange('image.width', 'pixels', width);
  if (!(Number.isInteger(height) && height > 0)) throw argumentOutOfRange('image.height', 'pixels', height);
  if (rgb.length !== width * height * 3) {
    throw argumentOutOfRange('image.rgb', `${width} x ${height} x 3 values`, rgb.length);
  }
  if (rgb instanceof Uint8Array) return;
  const wrong = rgb.find((value) => !(value >= 0 && value <= 1));
  if (wrong !== undefined) throw argumentOutOfRange('image.rgb', 'floats from 0 to 1', wrong);
}

/**
 * The pixels as floats from 0 to 1.
 * @internal
 */
export function floatPixels(image: RgbImage): Float32Array {
  checkImage(image);
  const { rgb } = image;
  if (rgb instanceof Float32Array) return rgb;
  const pixels = new Float32Array(rgb.length);
  for (let index = 0; index < rgb.length; index++) pixels[index] = (rgb[index] as number) / 255;
  return pixels;
}

/**
 * The pixels as bytes; not copied where they are bytes already.
 * @internal
 */
export function bytePixels(image: RgbImage): Uint8Array {
  checkImage(image);
  const { rgb } = image;
  return rgb instanceof Uint8Array ? rgb : Uint8Array.from(rgb, (value) => Math.round(value * 255));
}
