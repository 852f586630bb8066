import { readOptions } from '../../errors/options.js';
import type { Tensor } from '../../tensor/tensor.js';
import { contoursFromMap } from '../maps/contours-from-map.js';
import { readMapOf } from '../maps/map-values.js';
import type { Picture } from '../pictures/picture.js';
import type { RgbImage } from '../pictures/rgb-image.js';
import { type LineOptions, strokeOnImage } from '../pictures/vector-layer.js';

export interface ShowContoursOptions extends LineOptions {
  /** One line for each. Default 0.5. */
  readonly threshold?: number | readonly number[];
}

/**
 * Lines around where a map is at least the threshold, over its image.
 * @param image - the pixels; a `LoadedImage` fits
 * @param map - `[H, W]` of the image's size, finite
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
 */
export async function showContoursOnImage(
  image: RgbImage,
  map: Tensor,
  options?: ShowContoursOptions,
): Promise<Picture> {
  const given = readOptions<ShowContoursOptions>('showContoursOnImage options', options, [
    'threshold',
    'color',
    'lineWidth',
  ]);
  readMapOf(image, map);
  const path = [given.threshold ?? 0.5]
    .flat()
    .flatMap((threshold) => contoursFromMap(map, threshold))
    .map((contour) => `M${contour.map(([x, y]) => `${x.toFixed(2)},${y.toFixed(2)}`).join('L')}Z`);
  return await strokeOnImage(image, () => path.join(''), given);
}
