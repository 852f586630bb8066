import { argumentOutOfRange, invalidArgumentType } from '../errors.js';

/** Width and height in pixels; one number stands for a square. */
export type ImageSize = number | { readonly width: number; readonly height: number };

/** How an original picture became the model's input: resized, then a part of it cut out. Pixels. */
export interface ImageGeometry {
  /** After the EXIF orientation was applied. */
  readonly originalWidth: number;
  readonly originalHeight: number;
  readonly resizedWidth: number;
  readonly resizedHeight: number;
  /** Position of the model's input in the resized picture. */
  readonly cropLeft: number;
  readonly cropTop: number;
}

/** @internal */
export function checkImageSize(name: string, size: unknown): { width: number; height: number } {
  const given = typeof size === 'number' ? { width: size, height: size } : size;
  if (typeof given !== 'object' || given === null)
    throw invalidArgumentType(name, 'a number or { width, height }', size);
  const { width, height } = given as { width: unknown; height: unknown };
  for (const [side, value] of Object.entries({ width, height })) {
    if (!Number.isInteger(value) || (value as number) < 1 || (value as number) > 65_535) {
      throw argumentOutOfRange(`${name}.${side}`, 'an integer from 1 to 65535', value);
    }
  }
  return { width: width as number, height: height as number };
}

/**
 * The steps of torchvision's `Resize(shorterSide)` and `CenterCrop`: the picture keeps its aspect. Where it would end up
 * smaller than the crop it is enlarged just enough.
 * @internal
 */
export function resizeAndCrop(
  original: { readonly width: number; readonly height: number },
  size: { readonly width: number; readonly height: number },
  shorterSide: number,
): ImageGeometry {
  const scale = Math.max(
    shorterSide / Math.min(original.width, original.height),
    size.width / original.width,
    size.height / original.height,
  );
  const resizedWidth = Math.max(size.width, Math.trunc(original.width * scale + 1e-6));
  const resizedHeight = Math.max(size.height, Math.trunc(original.height * scale + 1e-6));
  return {
    originalWidth: original.width,
    originalHeight: original.height,
    resizedWidth,
    resizedHeight,
    cropLeft: halfRoundedToEven(resizedWidth - size.width),
    cropTop: halfRoundedToEven(resizedHeight - size.height),
  };
}

/** Python's `round(value / 2)`, which torchvision's CenterCrop uses. */
function halfRoundedToEven(value: number): number {
  const half = Math.floor(value / 2);
  return value % 2 === 1 && half % 2 === 1 ? half + 1 : half;
}
