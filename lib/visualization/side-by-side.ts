import sharp, { type OverlayOptions } from 'sharp';
import { argumentOutOfRange } from '../errors.js';
import { Picture } from './picture.js';

/** A picture and what is written below it. */
export interface Panel {
  readonly picture: Picture | { readonly rgb: Uint8Array; readonly width: number; readonly height: number };
  readonly caption?: string;
}

const gap = 8;
const captionHeight = 26;

/**
 * Pictures in one row on white, each with its caption below.
 * @throws {RangeError} `ERR_OUT_OF_RANGE` without panels
 */
export async function sideBySide(panels: readonly Panel[]): Promise<Picture> {
  if (panels.length === 0) throw argumentOutOfRange('panels', 'at least one panel', 'an empty array');
  const hasCaptions = panels.some(({ caption }) => caption);
  const tallest = Math.max(...panels.map(({ picture }) => picture.height));
  const height = tallest + 2 * gap + (hasCaptions ? captionHeight : 0);
  let left = gap;
  const layers: OverlayOptions[] = [];
  for (const { picture, caption } of panels) {
    const { width } = picture;
    layers.push({
      input: Buffer.from(picture.rgb),
      raw: { width, height: picture.height, channels: 3 },
      left,
      top: gap,
    });
    if (caption) layers.push({ input: captionSvg(caption, width), left, top: gap + tallest });
    left += width + gap;
  }
  const rgb = await sharp({ create: { width: left, height, channels: 3, background: 'white' } })
    .composite(layers)
    .removeAlpha()
    .raw()
    .toBuffer();
  return new Picture(rgb, left, height);
}

/** One centred line, cut to what fits. */
function captionSvg(caption: string, width: number): Buffer {
  const fontSize = 14;
  const fitting = Math.max(4, Math.floor(width / (fontSize * 0.55)));
  const line = caption.length > fitting ? `${caption.slice(0, fitting - 1).trimEnd()}…` : caption;
  const text = line.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
  return Buffer.from(
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${captionHeight}">` +
      `<text x="${width / 2}" y="18" text-anchor="middle" font-family="sans-serif" font-size="${fontSize}" ` +
      `fill="#222">${text}</text></svg>`,
  );
}
