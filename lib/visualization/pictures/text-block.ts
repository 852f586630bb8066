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
 * Text in the system's sans-serif font, wrapped at words and cut where there is too much of it. Its height depends on the
 * number of lines alone, so that texts beside each other stand on one line.
 * @internal
 */
export async function textBlock(text: string, style: TextStyle): Promise<TextBlock> {
  const clean = plainText(text);
  if (clean === '') return emptyBlock;
  const { maxLines = 3 } = style;
  const metrics = await measureLines(style);
  const whole = await renderLines(clean, style, metrics);
  if (whole.lines <= maxLines) return whole;
  const letters = [...clean];
  let fits = 0;
  for (let tooMany = letters.length; tooMany - fits > 1; ) {
    const count = Math.floor((fits + tooMany) / 2);
    const { lines } = await renderLines(shortened(letters, count), style, metrics);
    if (lines <= maxLines) fits = count;
    else tooMany = count;
  }
  return await renderLines(shortened(letters, fits), style, metrics);
}

/** The first letters, back to the end of a word where there is one near. */
function shortened(letters: readonly string[], count: number): string {
  const start = letters.slice(0, count).join('');
  const isWithinWord = /\S/.test(letters[count] ?? ' ');
  const words = isWithinWord ? start.replace(/\s\S{1,12}$/u, '') : start;
  return `${words.replace(/[\s,;:.]+$/u, '')}…`;
}

/** Without what Pango has no picture for: control characters and halves of surrogate pairs. */
function plainText(text: string): string {
  return text.replace(/(?!\n)[\p{Cc}\p{Cs}]/gu, ' ').trim();
}

interface LineMetrics {
  /** From the top of a capital letter to its foot. */
  readonly capital: number;
  /** From line to line. */
  readonly step: number;
}

async function measureLines(style: TextStyle): Promise<LineMetrics> {
  const [one, two] = await Promise.all([render('X', style), render('X\nX', style)]);
  return { capital: one.height, step: two.height - one.height };
}

/**
 * Pango's pictures end where the ink does, which differs from word to word. So the text is rendered between two lines of
 * known height, which are then cut off.
 */
async function renderLines(
  text: string,
  style: TextStyle,
  { capital, step }: LineMetrics,
): Promise<TextBlock & { readonly lines: number }> {
  const { data, width, height } = await render(`X\n${text}\nX`, style);
  const lines = Math.round((height - capital) / step) - 1;
  const first = step - Math.round((step - capital) / 2);
  const input = data.subarray(first * width * 4, (first + lines * step) * width * 4);
  return { input, raw: { width, height: lines * step, channels: 4 }, width, height: lines * step, lines };
}

async function render(
  text: string,
  { width, size, bold = false, align = 'center' }: TextStyle,
): Promise<{ data: Buffer; width: number; height: number }> {
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
  return { data, width: info.width, height: info.height };
}
