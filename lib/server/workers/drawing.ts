import { photoOf } from '../../image/load-image.js';
import { valuesToNpy } from '../../tensor/files.js';
import { Tensor } from '../../tensor/tensor.js';
import { type DrawnImage, drawMaps, mapsOfOriginal } from '../../visualization/draw-maps.js';
import type { DrawingTask } from './tasks.js';

/** The maps drawn over the picture, or for `'npy'` themselves, as the bytes of a file. */
export async function drawFile(task: DrawingTask): Promise<Buffer> {
  const { bytes, options, pixels, maps, captions, drawing, format, quality } = task;
  const image: DrawnImage = photoOf(pixels, bytes, options);
  using whole = Tensor.from(maps.values, maps.shape);
  const tensors = Array.from({ length: maps.shape[0] ?? 0 }, (_, index) => whole.at(index));
  try {
    if (format === 'npy') {
      const { values, shape } = drawing.original ? mapsOfOriginal(image, tensors) : maps;
      return valuesToNpy(values, shape);
    }
    const picture = await drawMaps(image, tensors, captions, drawing);
    return await picture.toBuffer(format, quality === undefined ? {} : { quality });
  } finally {
    for (const tensor of tensors) tensor.dispose();
  }
}

/** Pixels that JavaScript looks at one by one while it draws. */
export function countDrawn({ pixels, maps, drawing }: DrawingTask): number {
  const { width, height, geometry } = pixels;
  const each = drawing.original ? geometry.originalWidth * geometry.originalHeight : width * height;
  return each * (maps.shape[0] ?? 1);
}
