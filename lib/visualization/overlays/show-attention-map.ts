import { argumentOutOfRange, invalidArgumentType } from '../../errors/errors.js';
import { readOptions } from '../../errors/options.js';
import type { Tensor } from '../../tensor/tensor.js';
import { type ColormapName, colormapTable, colorOffset, lowestValue } from '../colours/colormaps.js';
import { blurred } from '../maps/gaussian-blur.js';
import { readMapOf } from '../maps/map-values.js';
import { normalized, scaledByMagnitude } from '../maps/normalize-map.js';
import { Picture } from '../pictures/picture.js';
import { floatPixels, type RgbImage } from '../pictures/rgb-image.js';

export interface ShowAttentionMapOptions {
  /** Blur the map, with a sigma of 0.02 x the longer side. Default false. */
  readonly blur?: boolean;
  /** Below 1 also weak heat is seen. Default 0.7. */
  readonly power?: number;
  /** Default `'matplotlib-jet'`. With `'diverging'` the map keeps its sign: it is divided by its largest magnitude. */
  readonly colormap?: ColormapName;
}

/**
 * An attention map over its image: where the map is low the image stays, where it is high its colour covers. The drawing
 * of the CLIP Grad-CAM notebook (`getAttMap`; K. Zakka 2021): the map a is normalised to 0..1, blurred if asked for and
 * normalised again, then `(1 - a^power) * image + a^power * colour(a)`. With signed maps the power is of |a|.
 * @param image - the pixels; a `LoadedImage` fits
 * @param map - `[H, W]` of the image's size, any finite values
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
 * @example await showAttentionMap(image, heatmaps.at(0), { blur: true }).toFile('attention.png');
 */
export function showAttentionMap(image: RgbImage, map: Tensor, options?: ShowAttentionMapOptions): Picture {
  const given = readOptions<ShowAttentionMapOptions>('showAttentionMap options', options, [
    'blur',
    'power',
    'colormap',
  ]);
  const { blur = false, power = 0.7, colormap = 'matplotlib-jet' } = given;
  if (typeof blur !== 'boolean') throw invalidArgumentType('blur', 'a boolean', blur);
  checkPower(power);
  const colours = colormapTable(colormap);
  const scale = lowestValue(colormap) < 0 ? scaledByMagnitude : normalized;
  const { width, height } = image;
  const pixels = floatPixels(image);
  let attention = scale(readMapOf(image, map));
  if (blur) {
    const values = blurred({ values: attention, width, height }, 0.02 * Math.max(width, height));
    attention = scale(values);
  }

  const rgb = new Uint8Array(pixels.length);
  for (let pixel = 0; pixel < attention.length; pixel++) {
    const value = attention[pixel] as number;
    const weight = Math.abs(value) ** power;
    const offset = colorOffset(colormap, value);
    for (let channel = 0; channel < 3; channel++) {
      const colour = (colours[offset + channel] as number) / 255;
      const index = pixel * 3 + channel;
      rgb[index] = Math.trunc(255 * ((1 - weight) * (pixels[index] as number) + weight * colour));
    }
  }
  return new Picture(rgb, width, height);
}

/** @internal */
export function checkPower(power: unknown): number {
  if (typeof power !== 'number') throw invalidArgumentType('power', 'a number', power);
  if (!(power > 0 && Number.isFinite(power))) throw argumentOutOfRange('power', 'a number above 0', power);
  return power;
}
