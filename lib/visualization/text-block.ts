import sharp from 'sharp';
import type { Layer } from './canvas.js';

export interface TextStyle {
  /** Longer lines are wrapped. Pixels. */
  readonly width: number;
  /** Of the letters, in pixels. */
  readonly size: number;
  readonly bold?: boolean;
  /** More lines than these are cut off behind an ellipsis. Default 3. */
  readonly maxLines?: number;
  readonly align?: 'left' | 'center' | 'right';
}

/** Rendered text: pixels as wide as its longest line. */
export type TextBlock = Pick<Layer, 'input' | 'raw'> & { readonly width: number; readonly height: number };

const emptyBlock: TextBlock = {
  input: Buffer.alloc(4),
  raw: { width: 1, height: 1, channels: 4 },
  width: 0,
  height: 0,
};

/**
 * Text in the system's sans-serif font, wrapped at words and cut where there is too much of it.
 * @internal
 */
export async function textBlock(text: string, style: TextStyle): Promise<TextBlock> {
  const clean = plainText(text);
  if (clean === '') return emptyBlock;
  const { maxLines = 3 } = style;
  const tallest = (await lineHeight(style)) * (maxLines + 0.5);
  const whole = await render(clean, style);
  if (whole.height <= tallest) return whole;
  const letters = [...clean];
  let best = await render('…', style);
  for (let [fits, tooMany] = [0, letters.length]; tooMany - fits > 1; ) {
    const count = Math.floor((fits + tooMany) / 2);
    const shortened = await render(`${letters.slice(0, count).join('').trimEnd()}…`, style);
    if (shortened.height <= tallest) [fits, best] = [count, shortened];
    else tooMany = count;
  }
  return best;
}

async function lineHeight(style: TextStyle): Promise<number> {
  return (await render('Xg', { ...style, width: 10_000 })).height;
}

/** Without what Pango has no picture for: control characters and halves of surrogate pairs. */
function plainText(text: string): string {
  return text.replace(/(?!\n)[\p{Cc}\p{Cs}]/gu, ' ').trim();
}

async function render(
  text: string,
  { width, size, bold = false, align = 'center' }: TextStyle,
): Promise<TextBlock> {
  const escaped = text.replace(/[&<>]/g, (character) => `&#${character.charCodeAt(0)};`);
  const weight = bold ? ' weight="bold"' : '';
  const { data, info } = await sharp({
    text: {
      text: `<span foreground="${bold ? '#111111' : '#333333'}"${weight}>${escaped}</span>`,
      font: `sans-serif ${size}`,
      width,
      align: align === 'center' ? 'centre' : align,
      wrap: 'word-char',
      rgba: true,
      dpi: 72, // a point is a pixel
    },
  })
    .raw()
    .toBuffer({ resolveWithObject: true });
  const { width: usedWidth, height } = info;
  return { input: data, raw: { width: usedWidth, height, channels: 4 }, width: usedWidth, height };
}
