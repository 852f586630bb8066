import { extname } from 'node:path';
import type { Explanation } from '../cam/explanation.js';
import type { LoadedImage } from '../image/load-image.js';
import { writeTensor } from '../tensor/files.js';
import { Tensor } from '../tensor/tensor.js';
import { drawMaps, type MapDrawing, mapsOfOriginal } from './draw-maps.js';

export const mapFormats = ['png', 'jpg', 'webp', 'avif', 'npy', 'json'] as const;

export function isRaw(path: string): boolean {
  return ['.npy', '.json'].includes(extname(path).toLowerCase());
}

/**
 * Writes the maps of one image: drawn, with several captioned side by side; or raw, as the file's extension says.
 * @param beside - put the image itself to the left of its maps
 */
export async function writeMaps(
  image: LoadedImage,
  { heatmaps }: Explanation,
  captions: readonly string[],
  drawing: MapDrawing,
  path: string,
  { beside = false } = {},
): Promise<void> {
  const maps = captions.map((_, index) => heatmaps.at(index));
  if (isRaw(path)) {
    if (!drawing.original) return await writeTensor(heatmaps, path);
    const { values, shape } = mapsOfOriginal(image, maps);
    using enlarged = Tensor.from(values, shape);
    return await writeTensor(enlarged, path);
  }
  await (await drawMaps(image, maps, captions, drawing, { beside })).toFile(path);
}
