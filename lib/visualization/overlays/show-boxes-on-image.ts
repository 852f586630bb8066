import { argumentOutOfRange, invalidArgumentType } from '../../errors/errors.js';
import { readOptions } from '../../errors/options.js';
import type { Box } from '../maps/box-from-map.js';
import type { Picture } from '../pictures/picture.js';
import type { RgbImage } from '../pictures/rgb-image.js';
import { type LineOptions, strokeOnImage } from '../pictures/vector-layer.js';

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
  for (const [index, box] of boxes.entries()) checkBox(`boxes[${index}]`, box);
  const path = (lineWidth: number) => boxes.map((box) => rectangle(box, image, lineWidth)).join('');
  return await strokeOnImage(image, path, given);
}

/** A box that touches the image's edge is drawn just inside of it. */
function rectangle([x1, y1, x2, y2]: Box, { width, height }: RgbImage, lineWidth: number): string {
  const within = (value: number, length: number) =>
    Math.min(Math.max(value, lineWidth), Math.max(lineWidth, length - lineWidth));
  const [left, right] = [within(x1, width), within(x2, width)];
  const [top, bottom] = [within(y1, height), within(y2, height)];
  return `M${left},${top}L${right},${top}L${right},${bottom}L${left},${bottom}Z`;
}

function checkBox(name: string, box: Box): void {
  if (!Array.isArray(box)) throw invalidArgumentType(name, 'a box [x1, y1, x2, y2]', box);
  const [x1, y1, x2, y2] = box;
  if (box.length !== 4 || !box.every(Number.isFinite) || x2 < x1 || y2 < y1)
    throw argumentOutOfRange(name, 'a box [x1, y1, x2, y2]', `[${box.join(', ')}]`);
}
