import type { Metadata, Sharp } from 'sharp';
import { GradCamError } from '../errors/errors.js';
import type { ImageGeometry } from './geometry.js';
import type { CheckedOptions } from './options.js';
import { type Pixels, resampleValues } from './resample.js';

// Pictures of more than eight bits, or whose values are not all of 0 to 255: in floating point from the file on, since sharp
// resizes and converts colours in eight bits.

/** How a file's values are read. */
export interface Depth {
  readonly bits: number;
  /** The values that become 0 and 1. */
  readonly range: readonly [low: number, high: number];
  /** False for bytes from 0 to 255, which sharp prepares. */
  readonly isDeep: boolean;
  /** Values beyond the range are refused, since nobody said that they may be cut. */
  readonly strict: boolean;
}

const bitsOf: Record<string, number> = { uchar: 8, ushort: 16, uint: 32, float: 32, double: 64 };
const isFloat = (depth: string | undefined) => depth === 'float' || depth === 'double';

/**
 * @internal
 * @throws {GradCamError} `ERR_IMAGE_LOAD` for depths that are not read without loss
 */
export function depthOf({ depth, space }: Metadata, range: CheckedOptions['range'], what: string): Depth {
  const bits = bitsOf[depth ?? ''];
  // Of half precision sharp gives two values.
  const half = isFloat(depth) && (space === 'grey16' || space === 'rgb16');
  if (bits === undefined || half)
    throw refused(
      what,
      `its values are ${half ? 'half-precision floats' : `of the kind '${depth}'`}, which cannot be read without loss. Convert it to 16-bit or 32-bit unsigned integers or 32-bit floats`,
    );
  if (bits === 8) {
    const whole = range === undefined || (range[0] === 0 && range[1] === 255);
    return { bits, range: range ?? [0, 255], isDeep: !whole, strict: false };
  }
  if (isFloat(depth)) return { bits, range: range ?? [0, 1], isDeep: true, strict: range === undefined };
  if (bits === 32 && range === undefined)
    throw refused(
      what,
      'it holds 32-bit integers, of which nothing tells which are black and white. Say it with `range: [low, high]`',
    );
  return { bits, range: range ?? [0, 65_535], isDeep: true, strict: false };
}

/**
 * The values of a picture, upright and on white, 0 at the range's low end and 1 at its high end.
 * @internal
 * @throws {GradCamError} `ERR_IMAGE_LOAD`
 */
export async function decodeDeep(
  image: Sharp,
  metadata: Metadata,
  depth: Depth,
  channels: 1 | 3,
  what: string,
): Promise<Pixels<Float32Array>> {
  // Large photos are of this kind, and would take four times the memory.
  const stored16 = metadata.depth === 'ushort';
  const { data, info } = await image
    .autoOrient()
    .toColourspace(colourspaceOf(metadata, channels))
    .raw({ depth: stored16 ? 'ushort' : 'double' })
    .toBuffer({ resolveWithObject: true });
  const { width, height, channels: stored } = info;
  const colours = stored >= 3 ? 3 : 1;
  if (stored > 4 || (stored !== colours && !metadata.hasAlpha))
    throw refused(what, `it has ${stored} channels, which are neither gray nor colours`);
  const Kind = stored16 ? Uint16Array : Float64Array;
  // A view where it is aligned, as it is unless sharp changes.
  const bytes =
    data.byteOffset % Kind.BYTES_PER_ELEMENT === 0 ? data : Buffer.from(new Uint8Array(data).buffer);
  const raw = new Kind(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.length / Kind.BYTES_PER_ELEMENT);
  checkValues(raw, stored, colours, depth, what);
  const values = new Float32Array(width * height * channels);
  const [low, high] = depth.range;
  const opaque = isFloat(metadata.depth) ? 1 : 2 ** depth.bits - 1;
  const share = (value: number) => Math.min(1, Math.max(0, (value - low) / (high - low)));
  for (let pixel = 0; pixel < width * height; pixel++) {
    const at = pixel * stored;
    const alpha = stored === colours ? 1 : Math.min(1, Math.max(0, (raw[at + colours] as number) / opaque));
    const onWhite = (channel: number) =>
      alpha === 0 ? 1 : share(raw[at + channel] as number) * alpha + (1 - alpha);
    if (channels === 1)
      values[pixel] =
        colours === 1 ? onWhite(0) : 0.299 * onWhite(0) + 0.587 * onWhite(1) + 0.114 * onWhite(2);
    else
      for (let channel = 0; channel < 3; channel++)
        values[pixel * 3 + channel] = onWhite(colours === 1 ? 0 : channel);
  }
  return { data: values, width, height, channels };
}

/** The one that keeps the values as they are; between integers sharp converts colours without loss of depth. */
function colourspaceOf({ depth, space, channels: stored = 1 }: Metadata, channels: 1 | 3): string {
  if (depth === 'uchar') return channels === 1 ? 'b-w' : 'srgb';
  if (depth === 'ushort') return channels === 1 || stored <= 2 ? 'grey16' : 'rgb16';
  return space === 'scrgb' ? 'scrgb' : 'b-w';
}

function checkValues(
  raw: Uint16Array | Float64Array,
  stored: number,
  colours: number,
  { range: [low, high], strict }: Depth,
  what: string,
): void {
  let least = Number.POSITIVE_INFINITY;
  let most = Number.NEGATIVE_INFINITY;
  for (let index = 0; index < raw.length; index++) {
    if (index % stored >= colours) continue;
    const value = raw[index] as number;
    if (Number.isNaN(value)) throw refused(what, 'it holds NaN. Replace those values, such as by the lowest');
    if (value < least) least = value;
    if (value > most) most = value;
  }
  // What rounding puts beyond an end.
  const slack = 1e-6 * (high - low);
  if (strict && (least < low - slack || most > high + slack))
    throw refused(
      what,
      `it holds floats from ${Number(least.toPrecision(6))} to ${Number(most.toPrecision(6))}, of which nothing tells which are black and white. Say it with \`range: [low, high]\`, or store values from 0 to 1`,
    );
}

function refused(what: string, problem: string): GradCamError {
  return new GradCamError('ERR_IMAGE_LOAD', `Cannot read ${what}: ${problem}.`);
}

/**
 * Resized and cut out, or with bars: the part that the model sees.
 * @internal
 */
export function placeDeep(
  picture: Pixels<Float32Array>,
  { resizedWidth, resizedHeight, cropLeft, cropTop }: ImageGeometry,
  { size: { width, height }, interpolation, antialias, paddingColor }: CheckedOptions,
): Float32Array {
  const resized = resampleValues(picture, resizedWidth, resizedHeight, interpolation, antialias);
  const { channels } = picture;
  const bars =
    channels === 3
      ? paddingColor.map((byte) => byte / 255)
      : [(0.299 * paddingColor[0] + 0.587 * paddingColor[1] + 0.114 * paddingColor[2]) / 255];
  const placed = new Float32Array(width * height * channels);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [fromX, fromY] = [x + cropLeft, y + cropTop];
      const inside = fromX >= 0 && fromX < resizedWidth && fromY >= 0 && fromY < resizedHeight;
      const from = (fromY * resizedWidth + fromX) * channels;
      for (let channel = 0; channel < channels; channel++) {
        const value = inside ? (resized.data[from + channel] as number) : (bars[channel] as number);
        // Cubics overshoot.
        placed[(y * width + x) * channels + channel] = Math.min(1, Math.max(0, value));
      }
    }
  }
  return placed;
}

/** @internal 0 to 1 as bytes. */
export function toBytes(values: Float32Array): Uint8Array {
  const bytes = new Uint8ClampedArray(values.length); // rounds, too
  for (let index = 0; index < values.length; index++) bytes[index] = (values[index] as number) * 255;
  return new Uint8Array(bytes.buffer);
}
