import sharp, { type KernelEnum, type Sharp } from 'sharp';
import { argumentOutOfRange, GradCamError, invalidArgumentType } from '../errors.js';
import { readOptions } from '../options.js';
import { Tensor } from '../tensor.js';
import { checkImageSize, type ImageGeometry, type ImageSize, resizeAndCrop } from './geometry.js';
import { decodeOriginal, type OriginalPhoto } from './original-photo.js';

export type Interpolation = 'nearest' | 'bilinear' | 'bicubic' | 'lanczos';

export interface LoadImageOptions {
  /** What the model sees, in pixels. Default 224. */
  readonly size?: ImageSize;
  /**
   * The shorter side before the centre is cut out, in pixels. Default: the shorter side of `size` x 256 / 224, which for
   * 224 is torchvision's usual 256. The same value as in `size` keeps as much of the picture as possible.
   */
  readonly resize?: number;
  /** Default `'bilinear'`. All but `'nearest'` average when they shrink, as Pillow does. */
  readonly interpolation?: Interpolation;
  /** Of each channel, on the scale 0 to 1, subtracted. Default: ImageNet's 0.485, 0.456, 0.406. */
  readonly mean?: readonly number[];
  /** Of each channel, divided by. Default: ImageNet's 0.229, 0.224, 0.225. */
  readonly std?: readonly number[];
  /** 3 for RGB (the default), 1 for gray. */
  readonly channels?: 1 | 3;
  /** Refuse pictures with more pixels than this. Default 268,402,689 (16383 x 16383). */
  readonly limitInputPixels?: number;
}

/** A picture as a model sees it. */
export interface LoadedImage {
  /** float32 `[1, C, H, W]`, normalised: ready for a model. */
  readonly tensor: Tensor;
  /** The pixels behind the tensor, before normalisation: RGB, row by row, `height * width * 3` bytes. */
  readonly rgb: Uint8Array;
  readonly width: number;
  readonly height: number;
  readonly geometry: ImageGeometry;
  /** The file it came from; null where it came from memory. */
  readonly path: string | null;
  /**
   * Reads the photo again, in its own size and upright. Nothing of it is kept in memory until then, but for the bytes
   * that it was loaded from, where it came from memory.
   * @throws {GradCamError} `ERR_IMAGE_LOAD`, also where the file changed its size or is gone
   */
  original(): Promise<OriginalPhoto>;
}

const imageNet = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] } as const;
const kernels: Record<Interpolation, keyof KernelEnum> = {
  nearest: 'nearest',
  bilinear: 'linear',
  bicubic: 'cubic',
  lanczos: 'lanczos3',
};

interface CheckedOptions {
  readonly size: { readonly width: number; readonly height: number };
  readonly resize: number;
  readonly kernel: keyof KernelEnum;
  readonly mean: readonly number[];
  readonly std: readonly number[];
  readonly channels: 1 | 3;
  readonly limitInputPixels: number | undefined;
}

/**
 * Reads a picture (JPEG, PNG, WebP, AVIF, TIFF, GIF, SVG) and prepares it as torchvision's ImageNet models expect:
 * resize the shorter side, cut out the centre, scale to 0..1, subtract the mean, divide by the standard deviation.
 * EXIF orientation is applied, colours become sRGB, and what is transparent becomes white.
 * @param source - a file's path, or its bytes
 * @throws {GradCamError} `ERR_IMAGE_LOAD`
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
 * @example const image = await loadImage('cat.jpg', { size: 224 });
 */
export async function loadImage(
  source: string | Uint8Array,
  options?: LoadImageOptions,
): Promise<LoadedImage> {
  if (typeof source !== 'string' && !(source instanceof Uint8Array)) {
    throw invalidArgumentType('source', "a file's path or its bytes", source);
  }
  const checked = checkOptions(options);
  const { pixels, geometry } = await readable(source, () => decode(source, checked));
  const { width, height } = checked.size;
  return {
    tensor: normalize(pixels, checked),
    rgb: checked.channels === 3 ? pixels : grayToRgb(pixels),
    width,
    height,
    geometry,
    path: typeof source === 'string' ? source : null,
    original: () =>
      readable(source, () => decodeOriginal(openImage(source, checked), geometry, describeSource(source))),
  };
}

function openImage(source: string | Uint8Array, { limitInputPixels }: CheckedOptions): Sharp {
  return sharp(source, {
    failOn: 'error',
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
    const reason = (cause as Error).message.split('\n')[0];
    const message = `Cannot read ${describeSource(source)}: ${reason}.`.replace('..', '.');
    throw new GradCamError('ERR_IMAGE_LOAD', message, {
      cause,
      details: typeof source === 'string' ? { path: source } : {},
    });
  }
}

async function decode(
  source: string | Uint8Array,
  options: CheckedOptions,
): Promise<{ pixels: Uint8Array; geometry: ImageGeometry }> {
  const { size, resize, kernel, channels } = options;
  const image = openImage(source, options);
  const { autoOrient } = await image.metadata();
  const geometry = resizeAndCrop(autoOrient, size, resize);
  const { resizedWidth, resizedHeight, cropLeft, cropTop } = geometry;
  const pixels = await image
    .autoOrient()
    .flatten({ background: 'white' })
    .resize(resizedWidth, resizedHeight, { fit: 'fill', kernel, fastShrinkOnLoad: false })
    .extract({ left: cropLeft, top: cropTop, ...size })
    .toColourspace(channels === 3 ? 'srgb' : 'b-w')
    .raw()
    .toBuffer();
  return { pixels, geometry };
}

/** Interleaved bytes to float32 `[1, C, H, W]`. */
function normalize(pixels: Uint8Array, { size, mean, std, channels }: CheckedOptions): Tensor {
  const area = size.width * size.height;
  const data = new Float32Array(area * channels);
  for (let channel = 0; channel < channels; channel++) {
    const scale = 1 / (255 * (std[channel] ?? 1));
    const shift = (mean[channel] ?? 0) / (std[channel] ?? 1);
    for (let index = 0; index < area; index++) {
      data[channel * area + index] = (pixels[index * channels + channel] ?? 0) * scale - shift;
    }
  }
  return Tensor.from(data, [1, channels, size.height, size.width]);
}

function grayToRgb(gray: Uint8Array): Uint8Array {
  const rgb = new Uint8Array(gray.length * 3);
  for (const [index, value] of gray.entries()) rgb.fill(value, index * 3, index * 3 + 3);
  return rgb;
}

function checkOptions(options: LoadImageOptions | undefined): CheckedOptions {
  const given = readOptions<LoadImageOptions>('loadImage options', options, [
    'size',
    'resize',
    'interpolation',
    'mean',
    'std',
    'channels',
    'limitInputPixels',
  ]);
  const size = checkImageSize('size', given.size ?? 224);
  const resize = given.resize ?? Math.round((Math.min(size.width, size.height) * 256) / 224);
  if (!Number.isInteger(resize) || resize < 1 || resize > 65_535) {
    throw argumentOutOfRange('resize', 'an integer from 1 to 65535', resize);
  }
  const interpolation = given.interpolation ?? 'bilinear';
  if (!Object.hasOwn(kernels, interpolation)) {
    throw invalidArgumentType(
      'interpolation',
      `one of '${Object.keys(kernels).join("', '")}'`,
      interpolation,
    );
  }
  const channels = given.channels ?? 3;
  if (channels !== 1 && channels !== 3) throw argumentOutOfRange('channels', '1 or 3', channels);
  const { limitInputPixels } = given;
  if (limitInputPixels !== undefined && !(Number.isInteger(limitInputPixels) && limitInputPixels > 0)) {
    throw argumentOutOfRange('limitInputPixels', 'an integer of at least 1', limitInputPixels);
  }
  const mean = given.mean ?? imageNet.mean.slice(0, channels);
  const std = given.std ?? imageNet.std.slice(0, channels);
  checkChannelValues('mean', mean, channels, (value) => Number.isFinite(value));
  checkChannelValues('std', std, channels, (value) => Number.isFinite(value) && value > 0);
  return { size, resize, kernel: kernels[interpolation], mean, std, channels, limitInputPixels };
}

function checkChannelValues(
  name: string,
  values: unknown,
  channels: number,
  isValid: (value: number) => boolean,
): void {
  if (!Array.isArray(values)) throw invalidArgumentType(name, `an array of ${channels} numbers`, values);
  if (values.length !== channels || !values.every((value) => typeof value === 'number' && isValid(value))) {
    const kind = name === 'std' ? 'positive finite' : 'finite';
    throw argumentOutOfRange(name, `${channels} ${kind} numbers, one per channel`, `[${values.join(', ')}]`);
  }
}
