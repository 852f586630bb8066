import { argumentOutOfRange, invalidArgumentType } from '../../errors/errors.js';
import { Tensor } from '../../tensor/tensor.js';
import { Picture } from '../pictures/picture.js';
import { bytePixels, type RgbImage } from '../pictures/rgb-image.js';

/**
 * The image where the mask is not 0; elsewhere what is left of it, gray and dark.
 * @param image - the pixels; a `LoadedImage` fits
 * @param mask - `[H, W]` of the image's size: `binaryMask(heatmaps.at(0), 0.5)`, `categoryMask(out, 15)`, or your own; of
 *   floats only 0 and 1, so that a heatmap is not taken for a mask
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`
 */
export function showMaskOnImage(image: RgbImage, mask: Tensor): Picture {
  if (!(mask instanceof Tensor)) throw invalidArgumentType('mask', 'a Tensor', mask);
  const pixels = bytePixels(image);
  const { width, height } = image;
  if (mask.shape.length !== 2 || mask.shape[0] !== height || mask.shape[1] !== width) {
    throw argumentOutOfRange(
      'mask',
      `a mask of shape [${height}, ${width}], the image's`,
      `[${mask.shape.join(', ')}]`,
    );
  }
  const given = mask.toTypedArray();
  const inside = given instanceof Uint8Array ? given : Uint8Array.from(given as ArrayLike<number>, Number);
  if (
    !(given instanceof Uint8Array) &&
    !inside.every((value, index) => value === Number(given[index]) && value <= 1)
  )
    throw invalidArgumentType('mask', 'a mask: uint8, bool, or floats of only 0 and 1', mask.dtype);
  const rgb = dimmed(pixels);
  for (let pixel = 0; pixel < inside.length; pixel++) {
    if (inside[pixel] === 0) continue;
    for (let index = pixel * 3; index < pixel * 3 + 3; index++) rgb[index] = pixels[index] as number;
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
    const [red, green, blue] = [rgb[index] as number, rgb[index + 1] as number, rgb[index + 2] as number];
    const level = Math.round(0.4 * (0.299 * red + 0.587 * green + 0.114 * blue));
    result[index] = level;
    result[index + 1] = level;
    result[index + 2] = level;
  }
  return result;
}
