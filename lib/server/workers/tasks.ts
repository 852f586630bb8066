import type { DecodedPixels } from '../../image/load-image.js';
import type { LoadImageOptions } from '../../image/options.js';
import type { MapDrawing } from '../../visualization/draw-maps.js';
import type { PictureFormat } from '../../visualization/pictures/picture.js';
import type { Failure } from './failure.js';

/** What a task gives back, or how it failed: errors lose their code on the way from one thread to another. */
export type Outcome<T> = { readonly value: T } | { readonly failure: Failure };

/** Maps over a picture, as a file. */
export interface DrawingTask {
  readonly bytes: Uint8Array;
  readonly options: LoadImageOptions;
  readonly pixels: DecodedPixels;
  /** `[maps, H, W]` */
  readonly maps: { readonly values: Float32Array; readonly shape: readonly number[] };
  readonly captions: readonly string[];
  readonly drawing: MapDrawing;
  /** `'npy'`: the maps themselves. */
  readonly format: PictureFormat | 'npy';
  readonly quality: number | undefined;
}

/** Bytes that share their memory with nothing else: small buffers of Node are parts of a pool, which may not be given away. */
export function alone(bytes: Uint8Array): Uint8Array {
  return bytes.byteLength === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes);
}
