/** Interleaved bytes of a picture, row by row. */
export interface Pixels {
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
  readonly channels: number;
}

/** The weights of the pixels around a place between two of them, `offset` (0 to 1) behind the nearer to the start. */
const kernels = {
  bilinear: (offset: number) => [1 - offset, offset],
  // Keys' cubic with -0.75, as in OpenCV and PyTorch.
  bicubic: (offset: number) => [-1, 0, 1, 2].map((position) => cubic(Math.abs(position - offset), -0.75)),
};

function cubic(distance: number, a: number): number {
  if (distance <= 1) return ((a + 2) * distance - (a + 3)) * distance * distance + 1;
  return distance < 2 ? a * (((distance - 5) * distance + 8) * distance - 4) : 0;
}

/**
 * Resizes without averaging, also where the picture shrinks: what OpenCV's `resize` and PyTorch's `interpolate` with
 * `antialias=False` do, which sharp cannot. Pixels are squares with their values in the middle; the border repeats.
 * @internal
 */
export function resample(
  source: Pixels,
  width: number,
  height: number,
  interpolation: keyof typeof kernels,
): Pixels {
  const { channels } = source;
  const columns = taps(source.width, width, interpolation);
  const rows = taps(source.height, height, interpolation);
  const data = new Uint8ClampedArray(width * height * channels); // rounds, too
  for (const [y, row] of rows.entries()) {
    for (const [x, column] of columns.entries()) {
      for (let channel = 0; channel < channels; channel++) {
        let sum = 0;
        for (const [fromY, weightY] of row) {
          const start = fromY * source.width;
          for (const [fromX, weightX] of column)
            sum += weightY * weightX * (source.data[(start + fromX) * channels + channel] ?? 0);
        }
        data[(y * width + x) * channels + channel] = sum;
      }
    }
  }
  return { data: new Uint8Array(data.buffer), width, height, channels };
}

/** Of each place along an axis, which pixels it is made of, and their weights. */
function taps(
  from: number,
  to: number,
  interpolation: keyof typeof kernels,
): (readonly [number, number])[][] {
  return Array.from({ length: to }, (_, place) => {
    const centre = ((place + 0.5) * from) / to - 0.5;
    const before = Math.floor(centre);
    const weights = kernels[interpolation](centre - before);
    const first = before - weights.length / 2 + 1;
    return weights.map((weight, index) => [Math.min(from - 1, Math.max(0, first + index)), weight] as const);
  });
}
