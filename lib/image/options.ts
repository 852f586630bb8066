import { argumentOutOfRange, invalidArgumentType } from '../errors/errors.js';
import { readOptions } from '../errors/options.js';
import { checkImageSize, type Fit, type ImageSize } from './geometry.js';

export type Interpolation = 'nearest' | 'bilinear' | 'bicubic' | 'lanczos';
export type ChannelOrder = 'rgb' | 'bgr';
export type ColorProfile = 'apply' | 'ignore';

export interface LoadImageOptions {
  /** What the model sees, in pixels. Default 224. */
  readonly size?: ImageSize;
  /** How pictures of other shapes fit it. Default `'crop'`. */
  readonly fit?: Fit;
  /**
   * The shorter side before the centre is cut out, in pixels. Default with `fit: 'crop'`: the shorter side of `size` x
   * 256 / 224, which for 224 is torchvision's usual 256; the same value as in `size` keeps as much of the picture as
   * possible. Default with `'stretch'`: that of `size`, nothing is cut off. Not with `'contain'`, which cuts nothing.
   */
  readonly resize?: number;
  /** With `fit: 'contain'`, the bars' red, green and blue, 0 to 255. Default black. */
  readonly paddingColor?: readonly [red: number, green: number, blue: number];
  /** Default `'bilinear'`. */
  readonly interpolation?: Interpolation;
  /**
   * Average when the picture shrinks, as Pillow does, and torchvision by default. Default true. False samples only the
   * nearest pixels, as OpenCV does, with `'bilinear'` or `'bicubic'`. Makes no difference for `'nearest'`.
   */
  readonly antialias?: boolean;
  /**
   * What becomes of a colour profile in the file, such as Display P3 of a phone's photo: `'apply'` converts its colours to
   * sRGB (the default); `'ignore'` takes the numbers as they are, as Pillow and thus torchvision's data sets do.
   */
  readonly colorProfile?: ColorProfile;
  /** 3 for colour (the default), 1 for gray. */
  readonly channels?: 1 | 3;
  /** Default `'rgb'`; `'bgr'` for models from Caffe or OpenCV. */
  readonly channelOrder?: ChannelOrder;
  /**
   * The values of the file that become 0 and 1 (before `valueRange`); what lies beyond is cut, as by the window of a CT.
   * Default: all that the depth holds, `[0, 255]` or `[0, 65535]`; `[0, 4095]` for 12 bits in a 16-bit file. Of floats
   * `[0, 1]`, and what lies beyond is refused.
   */
  readonly range?: readonly [low: number, high: number];
  /**
   * What black and white become, before mean and standard deviation. Default `[0, 1]`; `[0, 255]` leaves the bytes as
   * they are.
   */
  readonly valueRange?: readonly [black: number, white: number];
  /**
   * Of each channel, in the model's channel order and on the scale of `valueRange`, subtracted. Default: ImageNet's 0.485,
   * 0.456, 0.406, in the channel order; with a `valueRange` 0.
   */
  readonly mean?: readonly number[];
  /** Of each channel, divided by. Default: ImageNet's 0.229, 0.224, 0.225, in the channel order; with a `valueRange` 1. */
  readonly std?: readonly number[];
  /** Refuse pictures with more pixels than this. Default 268,402,689 (16383 x 16383). */
  readonly limitInputPixels?: number;
}

/** @internal */
export interface CheckedOptions {
  readonly size: { readonly width: number; readonly height: number };
  readonly fit: Fit;
  readonly resize: number;
  readonly paddingColor: readonly [number, number, number];
  readonly interpolation: Interpolation;
  readonly antialias: boolean;
  readonly colorProfile: ColorProfile;
  readonly channels: 1 | 3;
  readonly channelOrder: ChannelOrder;
  readonly range: readonly [number, number] | undefined;
  readonly valueRange: readonly [number, number];
  readonly mean: readonly number[];
  readonly std: readonly number[];
  readonly limitInputPixels: number | undefined;
}

const imageNet = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] } as const;
/** @internal */
export function checkOptions(options: LoadImageOptions | undefined): CheckedOptions {
  const given = readOptions<LoadImageOptions>('loadImage options', options, [
    'size',
    'fit',
    'resize',
    'paddingColor',
    'interpolation',
    'antialias',
    'colorProfile',
    'channels',
    'channelOrder',
    'range',
    'valueRange',
    'mean',
    'std',
    'limitInputPixels',
  ]);
  const size = checkImageSize('size', given.size ?? 224);
  const fit = checkChoice('fit', given.fit ?? 'crop', ['crop', 'stretch', 'contain']);
  if (given.resize !== undefined && fit === 'contain')
    throw argumentOutOfRange('resize', `no value with fit '${fit}'`, given.resize);
  if (given.paddingColor !== undefined && fit !== 'contain')
    throw argumentOutOfRange('paddingColor', `no value with fit '${fit}'`, String(given.paddingColor));
  const shorterSide = Math.min(size.width, size.height);
  const resize = given.resize ?? (fit === 'crop' ? Math.round((shorterSide * 256) / 224) : shorterSide);
  if (!Number.isInteger(resize) || resize < 1 || resize > 65_535) {
    throw argumentOutOfRange('resize', 'an integer from 1 to 65535', resize);
  }
  const paddingColor = given.paddingColor ?? [0, 0, 0];
  checkNumbers(
    'paddingColor',
    paddingColor,
    3,
    'numbers from 0 to 255',
    (value) => value >= 0 && value <= 255,
  );
  const interpolation = checkChoice('interpolation', given.interpolation ?? 'bilinear', [
    'nearest',
    'bilinear',
    'bicubic',
    'lanczos',
  ]);
  const antialias = given.antialias ?? true;
  if (typeof antialias !== 'boolean') throw invalidArgumentType('antialias', 'true or false', antialias);
  if (!antialias && interpolation === 'lanczos')
    throw argumentOutOfRange('antialias', "true with interpolation 'lanczos'", antialias);
  const colorProfile = checkChoice('colorProfile', given.colorProfile ?? 'apply', ['apply', 'ignore']);
  const channels = given.channels ?? 3;
  if (channels !== 1 && channels !== 3) throw argumentOutOfRange('channels', '1 or 3', channels);
  const channelOrder = checkChoice('channelOrder', given.channelOrder ?? 'rgb', ['rgb', 'bgr']);
  if (channelOrder === 'bgr' && channels === 1)
    throw argumentOutOfRange('channelOrder', "'rgb' with one channel", channelOrder);
  const { range } = given;
  if (range !== undefined) {
    checkNumbers('range', range, 2, 'finite numbers, the low and the high value', Number.isFinite);
    if (!(range[0] < range[1])) throw argumentOutOfRange('range', 'a low and a higher value', `[${range}]`);
  }
  const valueRange = given.valueRange ?? [0, 1];
  checkNumbers('valueRange', valueRange, 2, 'finite numbers, for black and white', Number.isFinite);
  const standard = given.valueRange
    ? { mean: [0, 0, 0], std: [1, 1, 1] }
    : channelOrder === 'bgr'
      ? { mean: imageNet.mean.toReversed(), std: imageNet.std.toReversed() }
      : imageNet;
  const mean = given.mean ?? standard.mean.slice(0, channels);
  const std = given.std ?? standard.std.slice(0, channels);
  checkNumbers('mean', mean, channels, 'finite numbers, one per channel', Number.isFinite);
  checkNumbers(
    'std',
    std,
    channels,
    'positive finite numbers, one per channel',
    (value) => Number.isFinite(value) && value > 0,
  );
  const { limitInputPixels } = given;
  if (limitInputPixels !== undefined && !(Number.isInteger(limitInputPixels) && limitInputPixels > 0))
    throw argumentOutOfRange('limitInputPixels', 'a positive integer', limitInputPixels);
  return {
    size,
    fit,
    resize,
    paddingColor,
    interpolation,
    antialias,
    colorProfile,
    channels,
    channelOrder,
    range,
    valueRange,
    mean,
    std,
    limitInputPixels,
  };
}

function checkChoice<T extends string>(name: string, value: unknown, choices: readonly T[]): T {
  if ((choices as readonly unknown[]).includes(value)) return value as T;
  throw invalidArgumentType(name, `one of '${choices.join("', '")}'`, value);
}

function checkNumbers(
  name: string,
  values: unknown,
  count: number,
  kind: string,
  isValid: (value: number) => boolean,
): void {
  if (!Array.isArray(values)) throw invalidArgumentType(name, `an array of ${count} ${kind}`, values);
  if (values.length !== count || !values.every((value) => typeof value === 'number' && isValid(value)))
    throw argumentOutOfRange(name, `${count} ${kind}`, `[${values.join(', ')}]`);
}
