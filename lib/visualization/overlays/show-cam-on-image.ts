import { argumentOutOfRange, invalidArgumentType } from '../../errors/errors.js';
import { readOptions } from '../../errors/options.js';
import type { Tensor } from '../../tensor/tensor.js';
import { type ColormapName, colormapTable, colorOffset, lowestValue } from '../colours/colormaps.js';
import { checkRange, readMapOf } from '../maps/map-values.js';
import { Picture } from '../pictures/picture.js';
import { floatPixels, type RgbImage } from '../pictures/rgb-image.js';

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
  const kept = weighted(image, imageWeight);
  const heat = readMapOf(image, map);
  checkRange(heat, lowestValue(colormap));

  // In float32 throughout, as numpy computes it: the results are truncated to bytes.
  const heatWeight = Math.fround(1 - imageWeight);
  const shares = Float32Array.from(colours, (colour) => Math.fround(colour / 255) * heatWeight);
  const mixed = new Float32Array(kept.length);
  let brightest = 0;
  for (let pixel = 0; pixel < heat.length; pixel++) {
    const offset = colorOffset(colormap, heat[pixel] as number);
    for (let channel = 0; channel < 3; channel++) {
      const index = pixel * 3 + channel;
      const mix = Math.fround((shares[offset + channel] as number) + (kept[index] as number));
      mixed[index] = mix;
      if (mix > brightest) brightest = mix;
    }
  }
  const rgb = new Uint8Array(mixed.length);
  if (brightest > 0) {
    for (let index = 0; index < rgb.length; index++)
      rgb[index] = Math.trunc(Math.fround(255 * Math.fround((mixed[index] as number) / brightest)));
  }
  return new Picture(rgb, image.width, image.height);
}

/** The image's share of the mix. */
function weighted(image: RgbImage, imageWeight: number): Float32Array {
  const pixels = floatPixels(image);
  const weight = Math.fround(imageWeight);
  const result = new Float32Array(pixels.length);
  for (let index = 0; index < pixels.length; index++) result[index] = weight * (pixels[index] as number);
  return result;
}

/** @internal */
export function checkImageWeight(imageWeight: unknown): number {
  if (typeof imageWeight !== 'number') throw invalidArgumentType('imageWeight', 'a number', imageWeight);
  if (!(imageWeight >= 0 && imageWeight <= 1))
    throw argumentOutOfRange('imageWeight', 'a number from 0 to 1', imageWeight);
  return imageWeight;
}
