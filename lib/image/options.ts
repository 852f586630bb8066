import type { z } from 'zod';
import { argumentOutOfRange, invalidArgumentType } from '../errors/errors.js';
import { readOptions } from '../errors/options.js';
import type { Fit, ImageSize } from './geometry.js';
import { loadOptions } from './schema.js';

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
const shape = loadOptions.shape satisfies Record<keyof LoadImageOptions, z.ZodType>;
const names = Object.keys(shape) as (keyof LoadImageOptions)[];

/** What is wrong with an option. */
interface Mistake {
  /** The option, or a part of it such as `size.width`. */
  readonly name: string;
  readonly expected: string;
  readonly actual: unknown;
  /** Another kind of value was expected, not another value. */
  readonly ofType: boolean;
}

/** @internal What is wrong with the options, each for itself or together; null where nothing is. */
export function findMistake(options: LoadImageOptions): Mistake | null {
  const parsed = parse(options);
  return parsed.error ? mistakeOf(parsed.error.issues[0] as z.core.$ZodIssue, options) : null;
}

function parse(options: LoadImageOptions) {
  // From plain JavaScript null comes for what is left out.
  const given = Object.entries(options).filter(([, value]) => value !== null);
  return loadOptions.safeParse(
    Object.fromEntries(
      given.map(([key, value]) =>
        key === 'size' && typeof value === 'number' ? [key, { width: value, height: value }] : [key, value],
      ),
    ),
  );
}

function mistakeOf(issue: z.core.$ZodIssue, options: LoadImageOptions): Mistake {
  // Of arrays the whole is told.
  const path = issue.path.filter((step) => typeof step === 'string');
  const actual = path.reduce<unknown>(
    (value, step) => (typeof value === 'number' ? value : (value as Record<string, unknown>)[step]),
    options,
  );
  return {
    name: path.join('.'),
    expected: issue.message.replace(/^Expected /, ''),
    actual,
    ofType:
      (issue.code === 'invalid_type' && ['array', 'tuple', 'boolean', 'object'].includes(issue.expected)) ||
      (issue.code === 'invalid_value' && issue.values.some((value) => typeof value === 'string')),
  };
}

/** @internal */
export function checkOptions(options: LoadImageOptions | undefined): CheckedOptions {
  const given = readOptions<LoadImageOptions>('loadImage options', options, names);
  const parsed = parse(given);
  if (parsed.error) {
    const { name, expected, actual, ofType } = mistakeOf(parsed.error.issues[0] as z.core.$ZodIssue, given);
    if (ofType) throw invalidArgumentType(name, expected, actual);
    throw argumentOutOfRange(name, expected, spelt(actual));
  }
  return complete(parsed.data);
}

/** As it is written, for a message. */
function spelt(value: unknown): unknown {
  if (Array.isArray(value)) return `[${value.join(', ')}]`;
  const { width, height } = Object(value) as { width?: unknown; height?: unknown };
  return typeof width === 'number' ? `${width} x ${height}` : value;
}

/** With the defaults of what is left out. */
function complete(given: z.output<typeof loadOptions>): CheckedOptions {
  const { size = { width: 224, height: 224 }, fit = 'crop', channels = 3, channelOrder = 'rgb' } = given;
  const shorterSide = Math.min(size.width, size.height);
  const standard = given.valueRange
    ? { mean: [0, 0, 0], std: [1, 1, 1] }
    : channelOrder === 'bgr'
      ? { mean: imageNet.mean.toReversed(), std: imageNet.std.toReversed() }
      : imageNet;
  return {
    size,
    fit,
    resize: given.resize ?? (fit === 'crop' ? Math.round((shorterSide * 256) / 224) : shorterSide),
    paddingColor: given.paddingColor ?? [0, 0, 0],
    interpolation: given.interpolation ?? 'bilinear',
    antialias: given.antialias ?? true,
    colorProfile: given.colorProfile ?? 'apply',
    channels,
    channelOrder,
    range: given.range,
    valueRange: given.valueRange ?? [0, 1],
    mean: given.mean ?? standard.mean.slice(0, channels),
    std: given.std ?? standard.std.slice(0, channels),
    limitInputPixels: given.limitInputPixels,
  };
}
