import { readOptions } from '../../errors/options.js';
import type { Tensor } from '../../tensor/tensor.js';
import type { ColormapName } from '../colours/colormaps.js';
import { readMap } from '../maps/map-values.js';
import { Picture } from '../pictures/picture.js';
import { applyColormap } from './apply-colormap.js';
import { checkPower } from './show-attention-map.js';

export interface HeatLayerOptions {
  /** Default `'jet'`. */
  readonly colormap?: ColormapName;
  /** The opacity is the map (without its sign) to this power. Default 0.7. */
  readonly power?: number;
}

/**
 * A map in colours, as transparent as it is cold: to be laid over the image by whoever shows it, such as a web page.
 * @param map - `[H, W]`, values 0 to 1; for `'diverging'` -1 to 1
 * @returns a picture with `alpha`; PNG, WebP and AVIF keep it
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
 */
export function heatLayer(map: Tensor, options?: HeatLayerOptions): Picture {
  const { colormap = 'jet', power = 0.7 } = readOptions<HeatLayerOptions>('heatLayer options', options, [
    'colormap',
    'power',
  ]);
  checkPower(power);
  const { rgb, width, height } = applyColormap(map, colormap);
  const { values } = readMap(map);
  const alpha = new Uint8Array(values.length);
  for (let pixel = 0; pixel < alpha.length; pixel++)
    alpha[pixel] = Math.round(255 * Math.abs(values[pixel] as number) ** power);
  return new Picture(rgb, width, height, alpha);
}
