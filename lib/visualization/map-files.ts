import { extname } from 'node:path';
import type { Explanation } from '../cam/explanation.js';
import { writeWholeFile } from '../files/whole-file.js';
import type { LoadedImage } from '../image/load-image.js';
import { encodeTensor } from '../tensor/files.js';
import { Tensor } from '../tensor/tensor.js';
import { drawMaps, type MapDrawing, mapsOfOriginal } from './draw-maps.js';

export const mapFormats = ['png', 'jpg', 'webp', 'avif', 'npy', 'json'] as const;

export function isRaw(path: string): boolean {
  return ['.npy', '.json'].includes(extname(path).toLowerCase());
}

/**
 * The maps of one image as a file's content: drawn, with several captioned side by side; or raw, as the format says.
 * @param format - one of {@link mapFormats}, or `jpeg`
 * @param beside - put the image itself to the left of its maps
 */
export async function encodeMaps(
  image: LoadedImage,
  { heatmaps }: Explanation,
  captions: readonly string[],
  drawing: MapDrawing,
  format: string,
  { beside = false } = {},
): Promise<Buffer> {
  const maps = captions.map((_, index) => heatmaps.at(index));
  if (format === 'npy' || format === 'json') {
    if (!drawing.original) return encodeTensor(heatmaps, format);
    const { values, shape } = mapsOfOriginal(image, maps);
    using enlarged = Tensor.from(values, shape);
    return encodeTensor(enlarged, format);
  }
  const picture = await drawMaps(image, maps, captions, drawing, { beside });
  return await picture.toBuffer(format === 'jpg' ? 'jpeg' : (format as 'png'));
}

/** Writes the maps of one image as {@link encodeMaps} makes them; the extension says the format. */
export async function writeMaps(
  image: LoadedImage,
  explanation: Explanation,
  captions: readonly string[],
  drawing: MapDrawing,
  path: string,
): Promise<void> {
  const format = extname(path).slice(1).toLowerCase();
  await writeWholeFile(path, await encodeMaps(image, explanation, captions, drawing, format));
}
