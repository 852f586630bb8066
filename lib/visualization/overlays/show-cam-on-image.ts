import { argumentOutOfRange, invalidArgumentType } from '../../errors/errors.js';
import { readOptions } from '../../errors/options.js';
import type { Tensor } from '../../tensor/tensor.js';
import { type ColormapName, colormapTable, colorOffset, lowestValue } from '../colours/colormaps.js';
import { checkRange, readMapOf } from '../maps/map-values.js';
import { Picture } from '../pictures/picture.js';
import { checkImage, type RgbImage } from '../pictures/rgb-image.js';

export interface ShowCamOptions {
  /** Default `'jet'`. */
  readonly colormap?: ColormapName;
  /** How much of the image stays, 0 to 1; the rest is heat. Default 0.5. */
  readonly imageWeight?: number;
}

/**
 * A heatmap in colours over the image it explains. As pytorch-grad-cam's `show_cam_on_image` with `use_rgb=True`:
 * `mix = (1 - imageWeight) * colour(map) + imageWeight * image`, divided by its maximum.
 * @param image - the pixels; a `LoadedImage` fits
 * @param map - `[H, W]` of the image's size, values 0 to 1 (with `'diverging'` colours -1 to 1): `heatmaps.at(0)`
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE` (sizes that differ, values beyond 0..1, NaN)
 * @example await showCamOnImage(image, heatmaps.at(0)).toFile('out.png');
 */
export function showCamOnImage(image: RgbImage, map: Tensor, options?: ShowCamOptions): Picture {
  const given = readOptions<ShowCamOptions>('showCamOnImage options', options, ['colormap', 'imageWeight']);
  const { colormap = 'jet' } = given;
  const colours = colormapTable(colormap);
  const imageWeight = checkImageWeight(given.imageWeight ?? 0.5);
  checkImage(image);
  const heat = readMapOf(image, map);
  checkRange(heat, lowestValue(colormap));

  // In float32 throughout, as numpy computes it: the results are truncated to bytes. Twice, since nothing is known before the
  // brightest is, and photos are too large to keep floats of.
  const heatWeight = Math.fround(1 - imageWeight);
  const shares = Float32Array.from(colours, (colour) => Math.fround(colour / 255) * heatWeight);
  const pixels = image.rgb;
  const kept = keptShares(pixels, Math.fround(imageWeight));
  const isBytes = pixels instanceof Uint8Array;
  const rgb = new Uint8Array(pixels.length);
  let brightest = 0;
  for (const isLast of [false, true]) {
    if (isLast && brightest === 0) break;
    for (let pixel = 0, index = 0; pixel < heat.length; pixel++) {
      const offset = colorOffset(colormap, heat[pixel] as number);
      for (let channel = 0; channel < 3; channel++, index++) {
        const share = kept[isBytes ? (pixels[index] as number) : index] as number;
        const mix = Math.fround((shares[offset + channel] as number) + share);
        if (isLast) rgb[index] = Math.trunc(Math.fround(255 * Math.fround(mix / brightest)));
        else if (mix > brightest) brightest = mix;
      }
    }
  }
  return new Picture(rgb, image.width, image.height);
}

/** The image's share of the mix: of each value of a byte, or of each float. */
function keptShares(pixels: Uint8Array | Float32Array, weight: number): Float32Array {
  if (pixels instanceof Float32Array) return pixels.map((value) => weight * value);
  return Float32Array.from({ length: 256 }, (_, byte) => weight * Math.fround(byte / 255));
}

/** @internal */
export function checkImageWeight(imageWeight: unknown): number {
  if (typeof imageWeight !== 'number') throw invalidArgumentType('imageWeight', 'a number', imageWeight);
  if (!(imageWeight >= 0 && imageWeight <= 1))
    throw argumentOutOfRange('imageWeight', 'a number from 0 to 1', imageWeight);
  return imageWeight;
}
