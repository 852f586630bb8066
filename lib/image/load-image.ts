import sharp, { type KernelEnum, type Metadata, type Sharp } from 'sharp';
import { GradCamError, invalidArgumentType } from '../errors/errors.js';
import { filePath } from '../files/file-path.js';
import { Tensor } from '../tensor/tensor.js';
import { bytesFrom } from '../tensor/typed-array-bytes.js';
import { type Depth, decodeDeep, depthOf, placeDeep, toBytes } from './deep-picture.js';
import { fitGeometry, type ImageGeometry } from './geometry.js';
import { type CheckedOptions, checkOptions, type Interpolation, type LoadImageOptions } from './options.js';
import { decodeOriginal, type OriginalPhoto, sameSize } from './original-photo.js';
import { unreadableKind } from './picture-kinds.js';
import { resample } from './resample.js';

/** A picture's file, as a path or a `file:` URL, or its bytes. */
export type ImageSource = string | URL | ArrayBuffer | SharedArrayBuffer | ArrayBufferView;

/** A picture as a model sees it. */
export interface LoadedImage {
  /** float32 `[1, C, H, W]`, normalised: ready for a model. */
  readonly tensor: Tensor;
  /** The pixels behind the tensor, before normalisation: RGB, row by row, `height * width * 3` bytes. */
  readonly rgb: Uint8Array;
  readonly width: number;
  readonly height: number;
  readonly geometry: ImageGeometry;
  /** Of each channel of the file: 8, 16, or 32 and 64 of integers and floats. */
  readonly bits: number;
  /** The values of the file that became 0 and 1; see the option `range`. */
  readonly range: readonly [low: number, high: number];
  /** The file it came from; null where it came from memory. */
  readonly path: string | null;
  /**
   * Reads the photo again, in its own size and upright. Nothing of it is kept in memory until then, but for the bytes
   * that it was loaded from, where it came from memory.
   * @throws {GradCamError} `ERR_IMAGE_LOAD`, also where the file changed its size or is gone
   */
  original(): Promise<OriginalPhoto>;
}

/** What drawing needs of a decoded picture, as plain data that can go from one thread to another. */
export interface DecodedPixels extends Pick<LoadedImage, 'rgb' | 'width' | 'height' | 'geometry'> {
  readonly depth: Depth;
}

/** A picture decoded and prepared. */
export interface DecodedImage extends DecodedPixels {
  /** `[1, C, H, W]`, normalised. */
  readonly values: Float32Array<ArrayBuffer>;
  readonly shape: readonly number[];
}

const kernels: Record<Interpolation, keyof KernelEnum> = {
  nearest: 'nearest',
  bilinear: 'linear',
  bicubic: 'cubic',
  lanczos: 'lanczos3',
};

/**
 * Reads a picture (JPEG, PNG, WebP, AVIF, TIFF, GIF, SVG) and prepares it as torchvision's ImageNet models expect:
 * resize the shorter side, cut out the centre, scale to 0..1, subtract the mean, divide by the standard deviation.
 * EXIF orientation is applied, colours become sRGB (see `colorProfile`), and what is transparent becomes white. Files of 16 bits and floats keep
 * their depth: `range` says which of their values become 0 and 1.
 * @param source - a file's path or `file:` URL, or its bytes: a buffer, or any view of one
 * @throws {GradCamError} `ERR_IMAGE_LOAD`, which names the kinds that are known and not read: HEIC, DICOM, JPEG 2000, BMP
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
 * @example const image = await loadImage('cat.jpg', { size: 224 });
 */
export async function loadImage(source: ImageSource, options?: LoadImageOptions): Promise<LoadedImage> {
  const path = filePath(source, 'source');
  const given = typeof path === 'string' ? path : bytesFrom(path);
  if (given === null) throw invalidArgumentType('source', "a file's path or URL, or its bytes", source);
  return await loadGiven(given, options);
}

async function loadGiven(
  source: string | Uint8Array,
  options: LoadImageOptions | undefined,
): Promise<LoadedImage> {
  return imageOf(await decodeImage(source, options), source, options);
}

/**
 * The work of {@link loadImage}, without a tensor.
 * @internal
 */
export async function decodeImage(
  source: string | Uint8Array,
  options?: LoadImageOptions,
): Promise<DecodedImage> {
  return await (await openPicture(source, options)).decode();
}

/**
 * A picture of which only the head is read: how many pixels it has, and {@link decodeImage} for the rest.
 * @internal
 */
export async function openPicture(
  source: string | Uint8Array,
  options?: LoadImageOptions,
): Promise<{ readonly pixels: number; decode(): Promise<DecodedImage> }> {
  const checked = checkOptions(options);
  const { image, metadata } = await readable(source, async () => {
    const opened = openImage(source, checked);
    return { image: opened, metadata: await opened.metadata() };
  });
  return {
    pixels: metadata.width * metadata.height,
    decode: async () => {
      const { pixels, geometry, depth } = await readable(source, () =>
        decode(image, metadata, checked, describeSource(source)),
      );
      const { width, height } = checked.size;
      const bytes = pixels instanceof Float32Array ? toBytes(pixels) : pixels;
      return {
        values: normalize(pixels, checked),
        shape: [1, checked.channels, height, width],
        rgb: checked.channels === 3 ? bytes : grayToRgb(bytes),
        width,
        height,
        geometry,
        depth,
      };
    },
  };
}

/**
 * What {@link loadImage} gives, of what {@link decodeImage} made of the same source with the same options.
 * @internal
 */
export function imageOf(
  decoded: DecodedImage,
  source: string | Uint8Array,
  options?: LoadImageOptions,
): LoadedImage {
  return { ...photoOf(decoded, source, options), tensor: Tensor.from(decoded.values, decoded.shape) };
}

/**
 * As {@link imageOf}, for drawing only.
 * @internal
 */
export function photoOf(
  { rgb, width, height, geometry, depth }: DecodedPixels,
  source: string | Uint8Array,
  options?: LoadImageOptions,
): Omit<LoadedImage, 'tensor'> {
  const checked = checkOptions(options);
  const { bits, range } = depth;
  return {
    rgb,
    width,
    height,
    geometry,
    bits,
    range,
    path: typeof source === 'string' ? source : null,
    original: () =>
      readable(source, async () => {
        const what = describeSource(source);
        const opened = openImage(source, checked);
        if (!depth.isDeep) return await decodeOriginal(opened, geometry, what);
        const deep = await decodeDeep(opened, await opened.metadata(), depth, 3, what);
        return sameSize({ rgb: toBytes(deep.data), width: deep.width, height: deep.height }, geometry, what);
      }),
  };
}

function openImage(source: string | Uint8Array, { limitInputPixels, colorProfile }: CheckedOptions): Sharp {
  return sharp(source, {
    failOn: 'error',
    ignoreIcc: colorProfile === 'ignore',
    ...(limitInputPixels === undefined ? {} : { limitInputPixels }),
  });
}

function describeSource(source: string | Uint8Array): string {
  return typeof source === 'string' ? `'${source}'` : 'the picture from memory';
}

/** What sharp throws becomes an error of ours. */
async function readable<T>(source: string | Uint8Array, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    if (cause instanceof GradCamError) throw cause;
    const kind = await unreadableKind(source);
    const reason = kind
      ? `it is ${kind.name}, which sharp cannot read here: ${kind.cure}`
      : (cause as Error).message.split('\n')[0]?.replace(/\.$/, '');
    const message = `Cannot read ${describeSource(source)}: ${reason}.`;
    throw new GradCamError('ERR_IMAGE_LOAD', message, {
      cause,
      details: typeof source === 'string' ? { path: source } : {},
    });
  }
}

async function decode(
  image: Sharp,
  metadata: Metadata,
  options: CheckedOptions,
  what: string,
): Promise<{ pixels: Uint8Array | Float32Array; geometry: ImageGeometry; depth: Depth }> {
  const { size, fit, resize, channels } = options;
  const geometry = fitGeometry(fit, metadata.autoOrient, size, resize);
  const depth = depthOf(metadata, options.range, what);
  if (depth.isDeep) {
    const picture = await decodeDeep(image, metadata, depth, channels, what);
    return { pixels: placeDeep(picture, geometry, options), geometry, depth };
  }
  const upright = image.autoOrient().flatten({ background: 'white' });
  const resized = await resizeTo(upright, geometry, options);
  const pixels = await placeIn(resized, geometry, options)
    .toColourspace(channels === 3 ? 'srgb' : 'b-w')
    .raw()
    .toBuffer();
  return { pixels, geometry, depth };
}

async function resizeTo(
  image: Sharp,
  { originalWidth, originalHeight, resizedWidth: width, resizedHeight: height }: ImageGeometry,
  { interpolation, antialias }: CheckedOptions,
): Promise<Sharp> {
  const kernel = kernels[interpolation];
  const shrink = (toWidth: number, toHeight: number) =>
    image.resize(toWidth, toHeight, { fit: 'fill', kernel, fastShrinkOnLoad: false });
  const enlarges = width > originalWidth || height > originalHeight;
  if (interpolation === 'nearest' || (antialias && !enlarges)) return shrink(width, height);
  // sharp shrinks, as Pillow does, what is to be smaller; the rest is sampled.
  const upright = antialias
    ? shrink(Math.min(width, originalWidth), Math.min(height, originalHeight))
    : image;
  const { data, info } = await upright.toColourspace('srgb').raw().toBuffer({ resolveWithObject: true });
  const convention = antialias ? 'pillow' : 'opencv';
  const pixels = resample({ data, ...info }, width, height, interpolation, convention);
  return sharp(pixels.data, { raw: { width, height, channels: info.channels } });
}

/** The part that the model sees, or bars around the picture. */
function placeIn(image: Sharp, geometry: ImageGeometry, { size, fit, paddingColor }: CheckedOptions): Sharp {
  const { resizedWidth, resizedHeight, cropLeft, cropTop } = geometry;
  if (fit !== 'contain') return image.extract({ left: cropLeft, top: cropTop, ...size });
  const [r, g, b] = paddingColor;
  return image.extend({
    left: Math.abs(cropLeft),
    top: Math.abs(cropTop),
    right: size.width - resizedWidth + cropLeft,
    bottom: size.height - resizedHeight + cropTop,
    background: { r, g, b },
  });
}

/** Interleaved bytes, or floats from 0 to 1, to the values of float32 `[1, C, H, W]`. */
function normalize(
  pixels: Uint8Array | Float32Array,
  { size, mean, std, channels, channelOrder, valueRange }: CheckedOptions,
): Float32Array<ArrayBuffer> {
  const area = size.width * size.height;
  const data = newValues(area * channels);
  const [black, white] = valueRange;
  const highest = pixels instanceof Float32Array ? 1 : 255;
  for (let channel = 0; channel < channels; channel++) {
    const stored = channelOrder === 'bgr' ? channels - 1 - channel : channel;
    const deviation = std[channel] ?? 1;
    const scale = (white - black) / (highest * deviation);
    const shift = ((mean[channel] ?? 0) - black) / deviation;
    for (let index = 0; index < area; index++) {
      data[channel * area + index] = (pixels[index * channels + stored] ?? 0) * scale - shift;
    }
  }
  return data;
}

function newValues(count: number): Float32Array<ArrayBuffer> {
  try {
    return new Float32Array(count);
  } catch (cause) {
    throw new GradCamError('ERR_OUT_OF_MEMORY', `Not enough memory for an image of ${count} values.`, {
      cause,
    });
  }
}

function grayToRgb(gray: Uint8Array): Uint8Array {
  const rgb = new Uint8Array(gray.length * 3);
  for (const [index, value] of gray.entries()) rgb.fill(value, index * 3, index * 3 + 3);
  return rgb;
}
