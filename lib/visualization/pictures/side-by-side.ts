import { argumentOutOfRange, invalidArgumentType } from '../../errors/errors.js';
import { readOptions } from '../../errors/options.js';
import { compose, type Layer, pictureLayer, proportions } from './canvas.js';
import type { Picture } from './picture.js';
import { checkImage, type RgbImage } from './rgb-image.js';
import { type TextBlock, textBlock } from './text-block.js';

/** A picture and what is written below it. */
export interface Panel {
  readonly picture: RgbImage;
  /** Wrapped at words; from the fourth line on cut off. */
  readonly caption?: string;
}

export interface SideBySideOptions {
  /** How many panels are in a row before the next row begins. Default: all of them. */
  readonly columns?: number;
}

/**
 * Pictures in a row, or several, on white, each with its caption below.
 * @throws {TypeError|RangeError} `ERR_OUT_OF_RANGE` without panels, `ERR_INVALID_ARG_TYPE`, `ERR_UNKNOWN_OPTION`
 * @example await sideBySide([{ picture: image, caption: 'the photo' }, { picture: overlay, caption: 'tabby 43%' }]);
 */
export async function sideBySide(panels: readonly Panel[], options?: SideBySideOptions): Promise<Picture> {
  const given = readOptions<SideBySideOptions>('sideBySide options', options, ['columns']);
  if (!Array.isArray(panels)) throw invalidArgumentType('panels', 'an array of panels', panels);
  if (panels.length === 0) throw argumentOutOfRange('panels', 'at least one panel', 'an empty array');
  for (const panel of panels) checkImage(panel?.picture);
  const { columns = panels.length } = given;
  if (!Number.isInteger(columns) || columns < 1)
    throw argumentOutOfRange('columns', 'an integer of at least 1', columns);

  const widest = Math.max(...panels.map(({ picture }) => picture.width));
  const { gap, textSize } = proportions(widest);
  const layers: Layer[] = [];
  let [right, top] = [0, gap];
  for (let first = 0; first < panels.length; first += columns) {
    const row = panels.slice(first, first + columns);
    const captions = await Promise.all(row.map((panel) => captionOf(panel, textSize)));
    const tallest = Math.max(...row.map(({ picture }) => picture.height));
    const captionTop = top + tallest + Math.round(textSize / 2);
    let left = gap;
    for (const [index, { picture }] of row.entries()) {
      layers.push(pictureLayer(picture, left, top));
      const caption = captions[index];
      if (caption && caption.height > 0)
        layers.push({
          ...caption,
          left: left + Math.round((picture.width - caption.width) / 2),
          top: captionTop,
        });
      left += picture.width + gap;
    }
    right = Math.max(right, left);
    const captionHeight = Math.max(...captions.map(({ height }) => height));
    top = captionHeight > 0 ? captionTop + captionHeight + gap : top + tallest + gap;
  }
  return await compose(right, top, layers);
}

function captionOf({ picture, caption }: Panel, size: number): Promise<TextBlock> {
  if (caption !== undefined && typeof caption !== 'string')
    throw invalidArgumentType('caption', 'a string', caption);
  return textBlock(caption ?? '', { width: picture.width, size });
}
