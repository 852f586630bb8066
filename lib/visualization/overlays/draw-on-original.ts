import { argumentOutOfRange, invalidArgumentType } from '../../errors/errors.js';
import { readOptions } from '../../errors/options.js';
import type { LoadedImage } from '../../image/load-image.js';
import { Tensor } from '../../tensor/tensor.js';
import { type MapValues, readMap } from '../maps/map-values.js';
import { Picture } from '../pictures/picture.js';
import { bytePixels, type RgbImage } from '../pictures/rgb-image.js';
import { showCamOnImage } from './show-cam-on-image.js';
import { dimmed } from './show-mask-on-image.js';

/** What of a loaded image tells where on the original photo the model looked. */
export type PreparedImage = Pick<LoadedImage, 'width' | 'height' | 'geometry' | 'original'>;

/** Draws a map over an image of its size: `showCamOnImage` and its kin. */
export type Drawing = (seen: RgbImage, map: Tensor) => RgbImage | Promise<RgbImage>;

export interface DrawOnOriginalOptions {
  /** What the model did not see, since it was cut off: gray and dark (the default), or the photo as it is. */
  readonly outside?: 'dim' | 'plain';
}

/**
 * A map over the original photo, in the photo's own size and shape: resizing and cutting are undone, so that the heat lies
 * where the model found it.
 * @param image - from `loadImage()`; the photo is read again for this
 * @param map - `[H, W]` of what the model saw, of any size: `heatmaps.at(0)`
 * @param draw - draws the enlarged map over the part of the photo that the model saw. Default `showCamOnImage`
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
 * @throws {GradCamError} `ERR_IMAGE_LOAD`
 * @example await (await drawOnOriginal(image, heatmaps.at(0))).toFile('heat.jpg');
 * @example await drawOnOriginal(image, map, (seen, heat) => showContoursOnImage(seen, heat, { threshold: 0.5 }));
 */
export async function drawOnOriginal(
  image: PreparedImage,
  map: Tensor,
  draw: Drawing = (seen, heat) => showCamOnImage(seen, heat),
  options?: DrawOnOriginalOptions,
): Promise<Picture> {
  const { outside = 'dim' } = readOptions<DrawOnOriginalOptions>('drawOnOriginal options', options, [
    'outside',
  ]);
  if (outside !== 'dim' && outside !== 'plain')
    throw invalidArgumentType('outside', "'dim' or 'plain'", outside);
  if (typeof draw !== 'function') throw invalidArgumentType('draw', 'a function', draw);
  checkPreparedImage(image);
  const given = readMap(map);
  const region = seenRegion(image);
  const photo = await image.original();
  const seen = { ...region, rgb: cut(photo, region) };
  const enlarged = new Float32Array(region.width * region.height);
  resample(given, image, region, enlarged, region.width);
  const heat = Tensor.from(enlarged, [region.height, region.width]);
  const drawn = await draw(seen, heat);

  const rgb = outside === 'dim' ? dimmed(photo.rgb) : new Uint8Array(photo.rgb);
  const pixels = bytePixels(drawn);
  if (drawn.width !== region.width || drawn.height !== region.height)
    throw argumentOutOfRange(
      'draw',
      `a function that returns ${region.width} x ${region.height} pixels, as it was given`,
      `${drawn.width} x ${drawn.height}`,
    );
  const visible = drawn instanceof Picture && drawn.alpha ? laidOver(seen.rgb, pixels, drawn.alpha) : pixels;
  for (let y = 0; y < region.height; y++) {
    const row = visible.subarray(y * region.width * 3, (y + 1) * region.width * 3);
    rgb.set(row, ((y + region.top) * photo.width + region.left) * 3);
  }
  return new Picture(rgb, photo.width, photo.height);
}

function laidOver(below: Uint8Array, above: Uint8Array, alpha: Uint8Array): Uint8Array {
  const result = new Uint8Array(below.length);
  for (let index = 0; index < result.length; index++) {
    const share = (alpha[Math.floor(index / 3)] as number) / 255;
    const lower = below[index] as number;
    result[index] = Math.round(lower + share * ((above[index] as number) - lower));
  }
  return result;
}

/**
 * A map enlarged to the original photo: what `drawOnOriginal()` draws, as numbers.
 * @param map - `[H, W]` of what the model saw, of any size
 * @returns float32 `[originalHeight, originalWidth]`; 0 where the model did not see
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`
 */
export function mapOfOriginal(image: Omit<PreparedImage, 'original'>, map: Tensor): Tensor {
  checkPreparedImage(image);
  const { originalWidth, originalHeight } = image.geometry;
  const whole = new Float32Array(originalWidth * originalHeight);
  enlargeOnto(image, map, whole);
  return Tensor.from(whole, [originalHeight, originalWidth]);
}

/**
 * As {@link mapOfOriginal}, into memory of the caller that holds zeros.
 * @internal
 */
export function enlargeOnto(image: Omit<PreparedImage, 'original'>, map: Tensor, whole: Float32Array): void {
  const region = seenRegion(image);
  const { originalWidth } = image.geometry;
  const start = region.top * originalWidth + region.left;
  resample(readMap(map), image, region, whole.subarray(start), originalWidth);
}

interface Region {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** The photo's pixels whose middle lies in what the model saw. */
function seenRegion({ width, height, geometry }: Omit<PreparedImage, 'original'>): Region {
  const across = seenSpan(geometry.cropLeft, width, geometry.originalWidth, geometry.resizedWidth);
  const down = seenSpan(geometry.cropTop, height, geometry.originalHeight, geometry.resizedHeight);
  return { left: across.start, width: across.length, top: down.start, height: down.length };
}

function seenSpan(crop: number, seen: number, original: number, resized: number) {
  const scale = original / resized;
  const start = Math.min(original - 1, Math.max(0, Math.ceil(crop * scale - 0.5)));
  const end = Math.min(original, Math.ceil((crop + seen) * scale - 0.5));
  return { start, length: Math.max(1, end - start) };
}

function cut({ rgb, width }: RgbImage & { readonly rgb: Uint8Array }, region: Region): Uint8Array {
  const part = new Uint8Array(region.width * region.height * 3);
  for (let y = 0; y < region.height; y++) {
    const start = ((y + region.top) * width + region.left) * 3;
    part.set(rgb.subarray(start, start + region.width * 3), y * region.width * 3);
  }
  return part;
}

/** The map at the middle of each of the region's pixels, bilinear; a row of the result begins every `stride` values. */
function resample(
  map: MapValues,
  { width, height, geometry }: Omit<PreparedImage, 'original'>,
  region: Region,
  result: Float32Array,
  stride: number,
): void {
  const columns = samples(
    region.left,
    region.width,
    geometry.resizedWidth / geometry.originalWidth,
    geometry.cropLeft,
    map.width / width,
    map.width,
  );
  const rows = samples(
    region.top,
    region.height,
    geometry.resizedHeight / geometry.originalHeight,
    geometry.cropTop,
    map.height / height,
    map.height,
  );
  const line = new Float64Array(map.width);
  for (let y = 0; y < region.height; y++) {
    const upper = (rows.from[y] as number) * map.width;
    const lower = (rows.to[y] as number) * map.width;
    const share = rows.share[y] as number;
    for (let x = 0; x < map.width; x++)
      line[x] = (map.values[upper + x] as number) * (1 - share) + (map.values[lower + x] as number) * share;
    for (let x = 0; x < region.width; x++) {
      const [left, right] = [
        line[columns.from[x] as number] as number,
        line[columns.to[x] as number] as number,
      ];
      result[y * stride + x] = left + (columns.share[x] as number) * (right - left);
    }
  }
}

/** Between which of the map's lines each of the photo's lies, and how near to the second. */
function samples(
  start: number,
  count: number,
  toResized: number,
  crop: number,
  toMap: number,
  length: number,
) {
  const [from, to, share] = [new Int32Array(count), new Int32Array(count), new Float64Array(count)];
  for (let index = 0; index < count; index++) {
    const position = ((start + index + 0.5) * toResized - crop) * toMap - 0.5;
    const within = Math.min(length - 1, Math.max(0, position));
    from[index] = Math.floor(within);
    to[index] = Math.min(length - 1, Math.floor(within) + 1);
    share[index] = within - Math.floor(within);
  }
  return { from, to, share };
}

function checkPreparedImage(image: unknown): void {
  const { geometry, width } = (image ?? {}) as Partial<PreparedImage>;
  if (typeof geometry !== 'object' || geometry === null || typeof width !== 'number')
    throw invalidArgumentType('image', 'an image from loadImage()', image);
}
