import type { Sharp } from 'sharp';
import { GradCamError } from '../errors/errors.js';
import type { ImageGeometry } from './geometry.js';

/** A photo in its own size, upright, as RGB bytes row by row. */
export interface OriginalPhoto {
  readonly rgb: Uint8Array;
  readonly width: number;
  readonly height: number;
}

/**
 * Decodes all pixels of a photo whose geometry is known from before.
 * @internal
 */
export async function decodeOriginal(
  image: Sharp,
  geometry: ImageGeometry,
  what: string,
): Promise<OriginalPhoto> {
  const { data, info } = await image
    .autoOrient()
    .flatten({ background: 'white' })
    .toColourspace('srgb')
    .raw()
    .toBuffer({ resolveWithObject: true });
  const { width, height } = info;
  const rgb = new Uint8Array(data.buffer, data.byteOffset, data.length);
  return sameSize({ rgb, width, height }, geometry, what);
}

/** @internal */
export function sameSize(photo: OriginalPhoto, geometry: ImageGeometry, what: string): OriginalPhoto {
  const { width, height } = photo;
  if (width !== geometry.originalWidth || height !== geometry.originalHeight) {
    const [before, now] = [`${geometry.originalWidth} x ${geometry.originalHeight}`, `${width} x ${height}`];
    throw new GradCamError(
      'ERR_IMAGE_LOAD',
      `${what} changed since it was loaded: ${before} pixels then, ${now} now.`,
    );
  }
  return photo;
}
