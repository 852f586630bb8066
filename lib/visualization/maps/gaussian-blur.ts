import { argumentOutOfRange, invalidArgumentType } from '../../errors/errors.js';
import { Tensor } from '../../tensor/tensor.js';
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

/** Columns first, then rows; sums in float64, results in float32, as SciPy. @internal */
export function blurred(map: MapValues, sigma: number): Float32Array {
  if (sigma === 0) return map.values;
  const kernel = gaussianKernel(sigma);
  return blurRows({ ...map, values: blurColumns(map, kernel) }, kernel);
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

function blurColumns({ values, width, height }: MapValues, kernel: Float64Array): Float32Array {
  const result = new Float32Array(values.length);
  const sums = new Float64Array(width);
  const rowAt = (y: number) =>
    values.subarray(mirrored(y, height) * width, (mirrored(y, height) + 1) * width);
  for (let y = 0; y < height; y++) {
    const middle = rowAt(y);
    for (let x = 0; x < width; x++) sums[x] = (middle[x] as number) * (kernel[0] as number);
    for (let distance = 1; distance < kernel.length; distance++) {
      const [above, below, weight] = [rowAt(y - distance), rowAt(y + distance), kernel[distance] as number];
      for (let x = 0; x < width; x++)
        sums[x] = (sums[x] as number) + ((above[x] as number) + (below[x] as number)) * weight;
    }
    result.set(sums, y * width);
  }
  return result;
}

function blurRows({ values, width, height }: MapValues, kernel: Float64Array): Float32Array {
  const radius = kernel.length - 1;
  const result = new Float32Array(values.length);
  const padded = new Float64Array(width + 2 * radius);
  const source = Int32Array.from({ length: padded.length }, (_, index) => mirrored(index - radius, width));
  for (let start = 0; start < height * width; start += width) {
    for (let index = 0; index < padded.length; index++)
      padded[index] = values[start + (source[index] as number)] as number;
    for (let x = 0; x < width; x++) {
      const middle = x + radius;
      let sum = (padded[middle] as number) * (kernel[0] as number);
      for (let distance = 1; distance <= radius; distance++) {
        const both = (padded[middle - distance] as number) + (padded[middle + distance] as number);
        sum += both * (kernel[distance] as number);
      }
      result[start + x] = sum;
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
