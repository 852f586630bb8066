import { argumentOutOfRange, invalidArgumentType } from '../errors.js';
import { readOptions } from '../options.js';
import { Tensor } from '../tensor.js';
import { type ColormapName, colormapTable } from './colormaps.js';
import { Picture } from './picture.js';

/** RGB pixels, row by row: bytes, or floats from 0 to 1. A `LoadedImage` is one. */
export interface RgbImage {
  readonly rgb: Uint8Array | Float32Array;
  readonly width: number;
  readonly height: number;
}

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
 * @param map - `[H, W]` of the image's size, values 0 to 1: `heatmaps.at(0)`
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE` (sizes that differ, values beyond 0..1, NaN)
 * @example await showCamOnImage(image, heatmaps.at(0)).toFile('out.png');
 */
export function showCamOnImage(image: RgbImage, map: Tensor, options?: ShowCamOptions): Picture {
  const given = readOptions<ShowCamOptions>('showCamOnImage options', options, ['colormap', 'imageWeight']);
  const colours = colormapTable(given.colormap ?? 'jet');
  const imageWeight = given.imageWeight ?? 0.5;
  if (typeof imageWeight !== 'number') throw invalidArgumentType('imageWeight', 'a number', imageWeight);
  if (!(imageWeight >= 0 && imageWeight <= 1))
    throw argumentOutOfRange('imageWeight', 'a number from 0 to 1', imageWeight);
  const pixels = checkImage(image);
  const heat = checkMap(map, image);

  // In float32 throughout, as numpy computes it: the results are truncated to bytes.
  const mixed = new Float32Array(pixels.length);
  const heatWeight = 1 - imageWeight;
  let brightest = 0;
  for (let index = 0; index < mixed.length; index++) {
    const colour = Math.trunc(255 * (heat[Math.floor(index / 3)] ?? 0)) * 3 + (index % 3);
    const share = Math.fround(Math.fround((colours[colour] ?? 0) / 255) * Math.fround(heatWeight));
    mixed[index] = share + Math.fround(Math.fround(imageWeight) * (pixels[index] ?? 0));
    brightest = Math.max(brightest, mixed[index] ?? 0);
  }
  const rgb = new Uint8Array(mixed.length);
  if (brightest > 0) {
    for (let index = 0; index < rgb.length; index++) {
      rgb[index] = Math.trunc(Math.fround(255 * Math.fround((mixed[index] ?? 0) / brightest)));
    }
  }
  return new Picture(rgb, image.width, image.height);
}

function checkImage(image: RgbImage): Float32Array {
  const { rgb, width, height } = image ?? {};
  if (!(rgb instanceof Uint8Array || rgb instanceof Float32Array)) {
    throw invalidArgumentType('image', 'a LoadedImage or { rgb, width, height }', image);
  }
  if (rgb.length !== width * height * 3) {
    throw argumentOutOfRange('image.rgb', `${width} x ${height} x 3 values`, rgb.length);
  }
  if (rgb instanceof Uint8Array) return Float32Array.from(rgb, (value) => value / 255);
  const wrong = rgb.find((value) => !(value >= 0 && value <= 1));
  if (wrong !== undefined) throw argumentOutOfRange('image.rgb', 'floats from 0 to 1', wrong);
  return rgb;
}

function checkMap(map: Tensor, image: RgbImage): Float32Array {
  if (!(map instanceof Tensor)) throw invalidArgumentType('map', 'a Tensor', map);
  const [height, width] = map.shape;
  if (map.shape.length !== 2 || height !== image.height || width !== image.width) {
    throw argumentOutOfRange(
      'map',
      `a map of shape [${image.height}, ${image.width}], the image's (take one of several with heatmaps.at(0))`,
      `[${map.shape.join(', ')}]`,
    );
  }
  const values = map.toTypedArray();
  if (!(values instanceof Float32Array)) throw invalidArgumentType('map', 'a float32 tensor', map.dtype);
  const wrong = values.find((value) => !(value >= 0 && value <= 1));
  if (wrong !== undefined) throw argumentOutOfRange('map', 'values from 0 to 1', wrong);
  return values;
}
