import sharp from 'sharp';
import { argumentOutOfRange, invalidArgumentType } from '../../errors/errors.js';
import type { RgbColor } from '../colours/colormaps.js';
import { Picture } from './picture.js';
import { bytePixels, type RgbImage } from './rgb-image.js';

export interface LineOptions {
  /** Default `[255, 255, 255]`; lines have a dark edge, so that they show on every ground. */
  readonly color?: RgbColor;
  /** In pixels. Default: 2, more on images with a shorter side above 400 pixels. */
  readonly lineWidth?: number;
}

/** Strokes the path of an SVG over an image; it may depend on the line's width. @internal */
export async function strokeOnImage(
  image: RgbImage,
  pathOf: (lineWidth: number) => string,
  options: LineOptions,
): Promise<Picture> {
  const { width, height } = image;
  const shorter = Math.min(width, height);
  const [red, green, blue] = checkColor('color', options.color ?? [255, 255, 255]);
  const lineWidth = checkLineWidth(options.lineWidth ?? Math.max(2, shorter / 200));
  const path = pathOf(lineWidth);
  const stroke = (color: string, strokeWidth: number) =>
    `<path d="${path}" fill="none" stroke="${color}" stroke-width="${strokeWidth}" stroke-linejoin="round"/>`;
  const dark = 0.299 * red + 0.587 * green + 0.114 * blue > 128;
  const edge = dark ? 'rgba(0,0,0,0.6)' : 'rgba(255,255,255,0.7)';
  const svg =
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">` +
    `${stroke(edge, lineWidth * 2)}${stroke(`rgb(${red},${green},${blue})`, lineWidth)}</svg>`;
  const pixels = bytePixels(image);
  if (path === '') return new Picture(new Uint8Array(pixels), width, height);
  const drawn = await sharp(pixels, { raw: { width, height, channels: 3 } })
    .composite([{ input: Buffer.from(svg), left: 0, top: 0 }])
    .removeAlpha()
    .raw()
    .toBuffer();
  return new Picture(drawn, width, height);
}

/** @internal */
export function checkColor(name: string, color: unknown): RgbColor {
  const expected = 'a colour [red, green, blue]';
  if (!Array.isArray(color)) throw invalidArgumentType(name, expected, color);
  const valid = (value: unknown) =>
    Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 255;
  if (color.length !== 3 || !color.every(valid))
    throw argumentOutOfRange(name, `${expected}, each an integer from 0 to 255`, `[${color.join(', ')}]`);
  return color as unknown as RgbColor;
}

function checkLineWidth(lineWidth: unknown): number {
  if (typeof lineWidth !== 'number') throw invalidArgumentType('lineWidth', 'a number', lineWidth);
  if (!(lineWidth > 0 && lineWidth <= 1000))
    throw argumentOutOfRange('lineWidth', 'pixels above 0, up to 1000', lineWidth);
  return lineWidth;
}
