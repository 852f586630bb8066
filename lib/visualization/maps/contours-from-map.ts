import { contours } from 'd3-contour';
import type { Tensor } from '../../tensor/tensor.js';
import { checkThreshold, readMap } from './map-values.js';

/** A closed line of points `[x, y]` in pixels; the middle of the first pixel is `[0.5, 0.5]`. The last point is the first. */
export type Contour = readonly (readonly [x: number, y: number])[];

/**
 * The lines along which a map crosses the threshold, by marching squares with linear interpolation, as scikit-image's
 * `find_contours`. Regions at the map's edge are closed along the edge; holes in a region have lines of their own.
 * @param map - `[H, W]`, finite
 * @param threshold - default 0.5
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`
 */
export function contoursFromMap(map: Tensor, threshold = 0.5): Contour[] {
  const level = checkThreshold(threshold);
  const { values, width, height } = readMap(map);
  const generator = contours().size([width, height]);
  // It only reads by index, so that a typed array does.
  const { coordinates } = generator.contour(values as unknown as number[], level);
  return coordinates.flat().map((ring) => ring.map(([x = 0, y = 0]) => [x, y] as const));
}
