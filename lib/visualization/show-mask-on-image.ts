import { argumentOutOfRange, invalidArgumentType } from '../errors.js';
import { Tensor } from '../tensor.js';
import { Picture } from './picture.js';
import { bytePixels, type RgbImage } from './rgb-image.js';

/**
 * The image where the mask is not 0; elsewhere what is left of it, gray and dark.
 * @param image - the pixels; a `LoadedImage` fits
 * @param mask - `[H, W]` of the image's size, uint8 or bool: `binaryMask(heatmaps.at(0), 0.5)`, or a segmentation
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`
 */
export function showMaskOnImage(image: RgbImage, mask: Tensor): Picture {
  if (!(mask instanceof Tensor)) throw invalidArgumentType('mask', 'a Tensor', mask);
  const given = bytePixels(image);
  const { width, height } = image;
  if (mask.shape.length !== 2 || mask.shape[0] !== height || mask.shape[1] !== width) {
    throw argumentOutOfRange(
      'mask',
      `a mask of shape [${height}, ${width}], the image's`,
      `[${mask.shape.join(', ')}]`,
    );
  }
  const inside = mask.toTypedArray();
  if (!(inside instanceof Uint8Array))
    throw invalidArgumentType('mask', 'a uint8 or bool tensor, such as binaryMask() gives', mask.dtype);
  const rgb = dimmed(given);
  for (let pixel = 0; pixel < inside.length; pixel++) {
    if (inside[pixel] !== 0) rgb.set(given.subarray(pixel * 3, pixel * 3 + 3), pixel * 3);
  }
  return new Picture(rgb, width, height);
}

/**
 * The pixels in gray at 40 percent of their brightness (luma of ITU-R BT.601).
 * @internal
 */
export function dimmed(rgb: Uint8Array): Uint8Array {
  const result = new Uint8Array(rgb.length);
  for (let index = 0; index < rgb.length; index += 3) {
    const luma = 0.299 * (rgb[index] ?? 0) + 0.587 * (rgb[index + 1] ?? 0) + 0.114 * (rgb[index + 2] ?? 0);
    result.fill(Math.round(0.4 * luma), index, index + 3);
  }
  return result;
}
