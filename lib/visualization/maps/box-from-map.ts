import type { Tensor } from '../../tensor/tensor.js';
import { checkThreshold, type MapValues, readMap } from './map-values.js';

/** `[x1, y1, x2, y2]` in pixels; x2 and y2 are just outside, so that `x2 - x1` is the width. */
export type Box = readonly [x1: number, y1: number, x2: number, y2: number];

/**
 * The box around the largest connected region in which a map is at least the threshold: how a heatmap localises an object
 * without having been taught to (B. Zhou et al. 2016, who take 20 percent of the maximum). Pixels that touch at a corner
 * are connected, as in OpenCV's `connectedComponents`.
 * @param map - `[H, W]`, finite
 * @param threshold - default 0.2
 * @returns null where the map is below the threshold everywhere
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`
 */
export function boxFromMap(map: Tensor, threshold = 0.2): Box | null {
  const atLeast = Math.fround(checkThreshold(threshold));
  const given = readMap(map);
  const seen = new Uint8Array(given.values.length);
  for (let place = 0; place < seen.length; place++) {
    if (!((given.values[place] as number) >= atLeast)) seen[place] = 1;
  }
  const waiting = new Int32Array(seen.length);
  let largest: Region | null = null;
  for (let start = 0; start < seen.length; start++) {
    if (seen[start]) continue;
    const region = regionAround(start, seen, waiting, given);
    if (largest === null || region.area > largest.area) largest = region;
  }
  return largest?.box ?? null;
}

interface Region {
  readonly area: number;
  readonly box: Box;
}

/** Floods the region from one of its pixels, marking all of them as seen. */
function regionAround(
  start: number,
  seen: Uint8Array,
  waiting: Int32Array,
  { width, height }: MapValues,
): Region {
  let count = 0;
  const wait = (place: number) => {
    seen[place] = 1;
    waiting[count++] = place;
  };
  wait(start);
  let area = 0;
  let [left, top, right, bottom] = [width, height, 0, 0];
  while (count > 0) {
    const place = waiting[--count] as number;
    const x = place % width;
    const y = Math.floor(place / width);
    area++;
    if (x < left) left = x;
    if (y < top) top = y;
    if (x >= right) right = x + 1;
    if (y >= bottom) bottom = y + 1;
    const [firstRow, lastRow] = [y > 0 ? y - 1 : y, y < height - 1 ? y + 1 : y];
    const [firstColumn, lastColumn] = [x > 0 ? x - 1 : x, x < width - 1 ? x + 1 : x];
    for (let row = firstRow; row <= lastRow; row++) {
      for (let column = firstColumn; column <= lastColumn; column++) {
        const neighbour = row * width + column;
        if (!seen[neighbour]) wait(neighbour);
      }
    }
  }
  return { area, box: [left, top, right, bottom] };
}
