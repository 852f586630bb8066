/** @internal Of one picture: as many as sharp decodes. */
export const mostPixels = 0x3fff * 0x3fff;

/** Width and height in pixels; one number stands for a square. */
export type ImageSize = number | { readonly width: number; readonly height: number };

/**
 * How a picture of any shape fits the model's input:
 * - `'crop'`: its shorter side is resized, and the centre cut out, as for most classifiers. Keeps the aspect
 * - `'stretch'`: resized to just the size, whatever becomes of the aspect (or to more, of which the centre is cut out)
 * - `'contain'`: resized until all of it is inside, with bars around it ("letterbox"), as for many detectors
 */
export type Fit = 'crop' | 'stretch' | 'contain';

/** How an original picture became the model's input: resized, then a part of it cut out, or bars added. Pixels. */
export interface ImageGeometry {
  /** After the EXIF orientation was applied. */
  readonly originalWidth: number;
  readonly originalHeight: number;
  readonly resizedWidth: number;
  readonly resizedHeight: number;
  /** Position of the model's input in the resized picture; negative where there are bars before it. */
  readonly cropLeft: number;
  readonly cropTop: number;
}

interface Size {
  readonly width: number;
  readonly height: number;
}

/** @internal `shorterSide` is of no account with `'contain'`. */
export function fitGeometry(fit: Fit, original: Size, size: Size, shorterSide: number): ImageGeometry {
  if (fit === 'crop') return resizeAndCrop(original, size, shorterSide);
  const resized = fit === 'stretch' ? enlarged(size, shorterSide) : contained(original, size);
  return geometryOf(original, resized, size);
}

/**
 * The steps of torchvision's `Resize(shorterSide)` and `CenterCrop`: the picture keeps its aspect. Where it would end up
 * smaller than the crop it is enlarged just enough.
 */
function resizeAndCrop(original: Size, size: Size, shorterSide: number): ImageGeometry {
  const scale = Math.max(
    shorterSide / Math.min(original.width, original.height),
    size.width / original.width,
    size.height / original.height,
  );
  const resized = {
    width: Math.max(size.width, Math.trunc(original.width * scale + 1e-6)),
    height: Math.max(size.height, Math.trunc(original.height * scale + 1e-6)),
  };
  return geometryOf(original, resized, size);
}

/** The size, made larger until its shorter side is that long. */
function enlarged(size: Size, shorterSide: number): Size {
  const scale = Math.max(1, shorterSide / Math.min(size.width, size.height));
  return { width: Math.round(size.width * scale), height: Math.round(size.height * scale) };
}

/** The largest size of the original's aspect inside `size`. */
function contained(original: Size, size: Size): Size {
  const scale = Math.min(size.width / original.width, size.height / original.height);
  return {
    width: Math.max(1, Math.round(original.width * scale)),
    height: Math.max(1, Math.round(original.height * scale)),
  };
}

/** With the model's input in the middle. */
function geometryOf(original: Size, resized: Size, size: Size): ImageGeometry {
  return {
    originalWidth: original.width,
    originalHeight: original.height,
    resizedWidth: resized.width,
    resizedHeight: resized.height,
    cropLeft: before(resized.width, size.width),
    cropTop: before(resized.height, size.height),
  };
}

function before(resized: number, size: number): number {
  return resized < size ? 0 - halfRoundedToEven(size - resized) : halfRoundedToEven(resized - size);
}

/** Python's `round(value / 2)`, which torchvision's CenterCrop and Pillow's `ImageOps.pad` use. */
function halfRoundedToEven(value: number): number {
  const half = Math.floor(value / 2);
  return value % 2 === 1 && half % 2 === 1 ? half + 1 : half;
}
