import type { ImageGeometry } from '../../image/geometry.js';

/** Corners of a box, left, top, right and bottom, in pixels. */
export type Corners = readonly [x1: number, y1: number, x2: number, y2: number];

/** Where the model's input lies in the picture that the client sent. */
export interface PictureFrame {
  /** From pixels of the input to those of the picture, cut where the picture ends. */
  toPicture(box: Corners): Corners;
  /** From pixels of the picture to those of the input. */
  toInput(box: Corners): Corners;
}

/** Of numbers, which are the input themselves. */
export const inputFrame: PictureFrame = { toPicture: (box) => box, toInput: (box) => box };

/** Of a picture that was resized and cut. The picture is upright, as EXIF says. */
export function frameOf(geometry: ImageGeometry): PictureFrame {
  const { originalWidth, originalHeight, resizedWidth, resizedHeight, cropLeft, cropTop } = geometry;
  const across = originalWidth / resizedWidth;
  const down = originalHeight / resizedHeight;
  const within = (value: number, length: number) => Math.min(Math.max(value, 0), length);
  return {
    toPicture: ([x1, y1, x2, y2]) => [
      within((x1 + cropLeft) * across, originalWidth),
      within((y1 + cropTop) * down, originalHeight),
      within((x2 + cropLeft) * across, originalWidth),
      within((y2 + cropTop) * down, originalHeight),
    ],
    toInput: ([x1, y1, x2, y2]) => [
      x1 / across - cropLeft,
      y1 / down - cropTop,
      x2 / across - cropLeft,
      y2 / down - cropTop,
    ],
  };
}
