/** Interleaved values of a picture, row by row. */
export interface Pixels<Data extends Uint8Array | Float32Array = Uint8Array> {
  readonly data: Data;
  readonly width: number;
  readonly height: number;
  readonly channels: number;
}

/** Whose numbers: Pillow's when it enlarges, or OpenCV's (and PyTorch's with `antialias=False`). */
export type ResampleConvention = 'pillow' | 'opencv';

interface Kernel {
  /** Pixels on either side that count. */
  readonly reach: number;
  readonly weight: (distance: number) => number;
}

const kernels = {
  bilinear: () => ({ reach: 1, weight: (distance) => 1 - distance }),
  // Keys' cubic, for which the two chose different parameters.
  bicubic: (convention) => cubic(convention === 'pillow' ? -0.5 : -0.75),
  lanczos: () => ({ reach: 3, weight: (distance) => sinc(distance) * sinc(distance / 3) }),
} as const satisfies Record<string, (convention: ResampleConvention) => Kernel>;

function cubic(a: number): Kernel {
  return {
    reach: 2,
    weight: (x) => (x <= 1 ? ((a + 2) * x - (a + 3)) * x * x + 1 : a * (((x - 5) * x + 8) * x - 4)),
  };
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

/**
 * Resizes by sampling the nearest pixels: no averaging, also where the picture shrinks. sharp can neither leave the
 * averaging out nor enlarge to the places where Pillow, OpenCV and PyTorch do.
 * @internal
 */
export function resample(
  source: Pixels,
  width: number,
  height: number,
  interpolation: keyof typeof kernels,
  convention: ResampleConvention,
): Pixels {
  const kernel: Kernel = kernels[interpolation](convention);
  const data = new Uint8ClampedArray(width * height * source.channels); // rounds, too
  const columns = tapsOf(source.width, width, kernel, convention);
  applyBoth(source, columns, tapsOf(source.height, height, kernel, convention), data);
  return { data: new Uint8Array(data.buffer), width, height, channels: source.channels };
}

/**
 * Resizes values of any depth. Where the picture shrinks, each place is the average that Pillow (and PyTorch with
 * `antialias=True`) takes, or with `antialias` false OpenCV's sample.
 * @internal
 */
export function resampleValues(
  source: Pixels<Float32Array>,
  width: number,
  height: number,
  interpolation: keyof typeof kernels | 'nearest',
  antialias: boolean,
): Pixels<Float32Array> {
  if (source.width === width && source.height === height) return source;
  const convention = antialias ? 'pillow' : 'opencv';
  const taps = (from: number, to: number) =>
    interpolation === 'nearest'
      ? nearestTaps(from, to)
      : tapsOf(
          from,
          to,
          kernels[interpolation](convention),
          convention,
          antialias ? Math.max(1, from / to) : 1,
        );
  const data = new Float32Array(width * height * source.channels);
  applyBoth(source, taps(source.width, width), taps(source.height, height), data);
  return { data, width, height, channels: source.channels };
}

/** The rows, then the columns. */
function applyBoth(
  source: Pixels<Uint8Array | Float32Array>,
  columns: Taps,
  rows: Taps,
  result: Float32Array | Uint8ClampedArray,
): void {
  const { channels } = source;
  const width = columns.from.length / columns.count;
  const wide = new Float32Array(width * source.height * channels);
  for (let y = 0; y < source.height; y++) {
    const row = source.data.subarray(y * source.width * channels, (y + 1) * source.width * channels);
    applyTaps(row, channels, columns, wide.subarray(y * width * channels, (y + 1) * width * channels));
  }
  applyTaps(wide, width * channels, rows, result);
}

function nearestTaps(from: number, to: number): Taps {
  const places = Int32Array.from({ length: to }, (_, place) => Math.floor(((place + 0.5) * from) / to));
  return { count: 1, from: places, weights: new Float64Array(to).fill(1) };
}

interface Taps {
  readonly count: number;
  /** `count` for each place: pixels, and their weights. */
  readonly from: Int32Array;
  readonly weights: Float64Array;
}

/** Of each place along an axis, which pixels it is made of. Pixels are squares with their values in the middle. */
function tapsOf(
  from: number,
  to: number,
  { reach, weight }: Kernel,
  convention: ResampleConvention,
  /** How many pixels wide the kernel's unit is. */
  scale = 1,
): Taps {
  const count = scale === 1 ? 2 * reach : Math.ceil(2 * reach * scale) + 1;
  const taps: Taps = { count, from: new Int32Array(to * count), weights: new Float64Array(to * count) };
  for (let place = 0; place < to; place++) {
    const centre = ((place + 0.5) * from) / to - 0.5;
    const first = Math.floor(centre - reach * scale) + 1;
    let sum = 0;
    for (let tap = 0; tap < count; tap++) {
      const pixel = first + tap;
      const inside = pixel >= 0 && pixel < from;
      // Beyond the border OpenCV repeats the last pixel, where Pillow leaves it out.
      const distance = Math.abs(centre - pixel) / scale;
      const value = (inside || convention === 'opencv') && distance <= reach ? weight(distance) : 0;
      taps.from[place * count + tap] = Math.min(from - 1, Math.max(0, pixel));
      taps.weights[place * count + tap] = value;
      sum += value;
    }
    for (let tap = 0; tap < count; tap++) {
      const index = place * count + tap;
      taps.weights[index] = (taps.weights[index] ?? 0) / sum;
    }
  }
  return taps;
}

/** Of each place, the weighted sum of `stride` values of each of its pixels. */
function applyTaps(
  source: Uint8Array | Float32Array,
  stride: number,
  { count, from, weights }: Taps,
  result: Float32Array | Uint8ClampedArray,
): void {
  const places = from.length / count;
  for (let place = 0; place < places; place++) {
    for (let value = 0; value < stride; value++) {
      let sum = 0;
      for (let tap = place * count; tap < (place + 1) * count; tap++)
        sum += (weights[tap] as number) * (source[(from[tap] as number) * stride + value] as number);
      result[place * stride + value] = sum;
    }
  }
}
