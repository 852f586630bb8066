import sharp, { type Raw } from 'sharp';
import { bytesOf } from '../../tensor/typed-array-bytes.js';
import { Picture, withAlpha } from './picture.js';
import { bytePixels, type RgbImage } from './rgb-image.js';

/** Pixels at a place of a canvas. */
export interface Layer {
  readonly input: Buffer;
  readonly raw: Raw;
  readonly left: number;
  readonly top: number;
}

/** A picture, transparent or not, as a layer. @internal */
export function pictureLayer(image: RgbImage, left: number, top: number): Layer {
  const { width, height } = image;
  const rgb = bytePixels(image);
  const alpha = image instanceof Picture ? image.alpha : null;
  const pixels = alpha ? withAlpha(rgb, alpha) : rgb;
  return {
    input: bytesOf(pixels),
    raw: { width, height, channels: alpha ? 4 : 3 },
    left: Math.round(left),
    top: Math.round(top),
  };
}

/** Layers on white. @internal */
export async function compose(width: number, height: number, layers: readonly Layer[]): Promise<Picture> {
  const rgb = await sharp({ create: { width, height, channels: 3, background: 'white' } })
    .composite([...layers])
    .removeAlpha()
    .raw()
    .toBuffer();
  return new Picture(rgb, width, height);
}

/** Distances and letters that suit pictures of that size, in pixels. @internal */
export function proportions(pictureWidth: number): { gap: number; textSize: number } {
  return {
    gap: Math.max(8, Math.round(pictureWidth / 40)),
    textSize: Math.max(11, Math.min(14, Math.round(pictureWidth / 16)), Math.round(8 + pictureWidth / 50)),
  };
}
