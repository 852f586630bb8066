import { argumentOutOfRange, invalidArgumentType } from '../errors/errors.js';
import type { Tensor } from '../tensor/tensor.js';
import { checkHeatmaps } from './perturbed-scores.js';

/**
 * The pointing game: does the map's highest place lie on an object? J. Zhang et al., "Top-down Neural Attention by
 * Excitation Backprop", 2016.
 * @param heatmaps - `[B, H, W]`
 * @param boxes - of each image the boxes of its objects, `[x1, y1, x2, y2]` in pixels, x2 and y2 excluded
 * @param tolerance - pixels that the place may lie beside a box. Default 15
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`
 * @throws {GradCamError} `ERR_INPUT_SHAPE`
 */
export function pointingGame(
  heatmaps: Tensor,
  boxes: readonly (readonly (readonly number[])[])[],
  tolerance = 15,
): boolean[] {
  const values = checkHeatmaps(heatmaps, 3);
  const [images = 0, height = 0, width = 0] = heatmaps.shape;
  if (!Array.isArray(boxes) || boxes.length !== images)
    throw invalidArgumentType('boxes', `an array of boxes for each of ${images} images`, boxes);
  for (const [image, ofImage] of boxes.entries()) {
    if (!Array.isArray(ofImage) || !ofImage.every(isBox))
      throw invalidArgumentType(
        `boxes[${image}]`,
        'an array of boxes [x1, y1, x2, y2] of finite numbers',
        ofImage,
      );
  }
  if (!(tolerance >= 0)) throw argumentOutOfRange('tolerance', 'a number of at least 0', tolerance);
  return boxes.map((ofImage, image) => {
    const map = values.subarray(image * height * width, (image + 1) * height * width);
    const peak = map.reduce((best, value, place) => (value > (map[best] ?? 0) ? place : best), 0);
    const x = peak % width;
    const y = Math.floor(peak / width);
    return ofImage.some(([left = 0, top = 0, right = 0, bottom = 0]) => {
      const beside = Math.max(left - x, 0, x - right + 1);
      const above = Math.max(top - y, 0, y - bottom + 1);
      return Math.hypot(beside, above) <= tolerance;
    });
  });
}

function isBox(box: unknown): boolean {
  return Array.isArray(box) && box.length === 4 && box.every(Number.isFinite);
}
