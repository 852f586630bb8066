import { argumentOutOfRange, invalidArgumentType } from '../errors.js';
import { readOptions } from '../options.js';
import type { Box } from './box-from-map.js';
import type { Picture } from './picture.js';
import type { RgbImage } from './rgb-image.js';
import { type LineOptions, strokeOnImage } from './vector-layer.js';

/**
 * Boxes over an image, such as `boxFromMap(heatmaps.at(0))` or a detector's.
 * @param boxes - each `[x1, y1, x2, y2]` in pixels
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
 */
export async function showBoxesOnImage(
  image: RgbImage,
  boxes: readonly Box[],
  options?: LineOptions,
): Promise<Picture> {
  const given = readOptions<LineOptions>('showBoxesOnImage options', options, ['color', 'lineWidth']);
  if (!Array.isArray(boxes)) throw invalidArgumentType('boxes', 'an array of boxes', boxes);
  const path = boxes.map((box, index) => {
    if (!Array.isArray(box)) throw invalidArgumentType(`boxes[${index}]`, 'a box [x1, y1, x2, y2]', box);
    const [x1, y1, x2, y2] = box;
    if (box.length !== 4 || !box.every(Number.isFinite) || x2 < x1 || y2 < y1)
      throw argumentOutOfRange(`boxes[${index}]`, 'a box [x1, y1, x2, y2]', `[${box.join(', ')}]`);
    return `M${x1},${y1}L${x2},${y1}L${x2},${y2}L${x1},${y2}Z`;
  });
  return await strokeOnImage(image, path.join(''), given);
}
