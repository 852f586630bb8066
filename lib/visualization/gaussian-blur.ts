import { argumentOutOfRange, invalidArgumentType } from '../errors.js';
import { Tensor } from '../tensor.js';
import { type MapValues, readMap } from './map-values.js';

/**
 * A map blurred as `scipy.ndimage.gaussian_filter(map, sigma)` does: the kernel ends at four times sigma, and beyond the
 * edges the map goes on mirrored.
 * @param map - `[H, W]`, finite
 * @param sigma - standard deviation in pixels, at least 0
 * @returns float32 `[H, W]`
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`
 */
export function gaussianBlur(map: Tensor, sigma: number): Tensor {
  if (typeof sigma !== 'number') throw invalidArgumentType('sigma', 'a number', sigma);
  if (!(sigma >= 0 && sigma <= 10_000)) throw argumentOutOfRange('sigma', 'pixels from 0 to 10000', sigma);
  const given = readMap(map);
  return Tensor.from(blurred(given, sigma), [given.height, given.width]);
}

/** @internal */
export function blurred({ values, width, height }: MapValues, sigma: number): Float32Array {
  if (sigma === 0) return values;
  const kernel = gaussianKernel(sigma);
  const downwards = convolveLines(values, kernel, { count: width, step: 1 }, { count: height, step: width });
  return convolveLines(downwards, kernel, { count: height, step: width }, { count: width, step: 1 });
}

/** The right half: its middle, then what lies 1, 2, ... beside it. Both halves sum to 1. */
function gaussianKernel(sigma: number): Float64Array {
  const radius = Math.trunc(4 * sigma + 0.5);
  const half = Float64Array.from({ length: radius + 1 }, (_, distance) =>
    Math.exp((-0.5 * distance * distance) / (sigma * sigma)),
  );
  const sum = half.reduce((total, weight) => total + weight, 0) * 2 - 1;
  return half.map((weight) => weight / sum);
}

interface Direction {
  readonly count: number;
  readonly step: number;
}

/** Sums in float64, results in float32, as SciPy. */
function convolveLines(
  values: Float32Array,
  kernel: Float64Array,
  lines: Direction,
  along: Direction,
): Float32Array {
  const radius = kernel.length - 1;
  const result = new Float32Array(values.length);
  const padded = new Float64Array(along.count + 2 * radius);
  const source = Int32Array.from({ length: padded.length }, (_, index) =>
    mirrored(index - radius, along.count),
  );
  for (let line = 0; line < lines.count; line++) {
    const start = line * lines.step;
    for (let index = 0; index < padded.length; index++)
      padded[index] = values[start + (source[index] ?? 0) * along.step] ?? 0;
    for (let place = 0; place < along.count; place++) {
      const middle = place + radius;
      let sum = (padded[middle] ?? 0) * (kernel[0] ?? 0);
      for (let distance = 1; distance <= radius; distance++) {
        const both = (padded[middle - distance] ?? 0) + (padded[middle + distance] ?? 0);
        sum += both * (kernel[distance] ?? 0);
      }
      result[start + place * along.step] = sum;
    }
  }
  return result;
}

/** `d c b a | a b c d | d c b a`, again and again. */
function mirrored(index: number, count: number): number {
  const period = 2 * count;
  const within = ((index % period) + period) % period;
  return within < count ? within : period - 1 - within;
}
