import type { Tensor } from '../../tensor/tensor.js';
import { type ColormapName, colormapTable, colorOffset, lowestValue } from '../colours/colormaps.js';
import { checkRange, readMap } from '../maps/map-values.js';
import { Picture } from '../pictures/picture.js';

/**
 * A map in colours, without an image. As OpenCV's `applyColorMap(np.uint8(255 * map))`, for `'diverging'` as matplotlib's
 * `imshow(map, vmin=-1, vmax=1)`.
 * @param map - `[H, W]`, values 0 to 1; for `'diverging'` -1 to 1
 * @param colormap - default `'jet'`
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`
 * @example await applyColormap(heatmaps.at(0), 'viridis').toFile('heat.png');
 */
export function applyColormap(map: Tensor, colormap: ColormapName = 'jet'): Picture {
  const table = colormapTable(colormap);
  const { values, width, height } = readMap(map);
  checkRange(values, lowestValue(colormap));
  const rgb = new Uint8Array(values.length * 3);
  for (let pixel = 0; pixel < values.length; pixel++) {
    const offset = colorOffset(colormap, values[pixel] as number);
    for (let channel = 0; channel < 3; channel++)
      rgb[pixel * 3 + channel] = table[offset + channel] as number;
  }
  return new Picture(rgb, width, height);
}
