import { argumentOutOfRange, invalidArgumentType } from '../../errors/errors.js';
import { readOptions } from '../../errors/options.js';
import { compose, type Layer, pictureLayer, proportions } from './canvas.js';
import type { Picture } from './picture.js';
import type { RgbImage } from './rgb-image.js';
import { type TextBlock, textBlock } from './text-block.js';

export interface PictureGrid {
  /** Row by row; null leaves a place empty. */
  readonly pictures: readonly (readonly (RgbImage | null)[])[];
  /** A header for each row, at its left: the methods. */
  readonly rows?: readonly string[];
  /** A header for each column, above it: the classes. */
  readonly columns?: readonly string[];
}

/**
 * Pictures as a table on white, such as methods times classes, with headers for rows and columns.
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE` (no pictures, rows of different lengths, not one
 *   header for each), `ERR_UNKNOWN_OPTION`
 * @example await pictureGrid({ rows: ['GradCAM', 'LayerCAM'], columns: ['tabby', 'zebra'], pictures: [[a, b], [c, d]] });
 */
export async function pictureGrid(grid: PictureGrid): Promise<Picture> {
  const { pictures, rows, columns } = checkGrid(grid);
  const columnCount = pictures[0]?.length ?? 0;
  const widths = Array.from({ length: columnCount }, (_, column) =>
    Math.max(1, ...pictures.map((row) => row[column]?.width ?? 0)),
  );
  const heights = pictures.map((row) => Math.max(1, ...row.map((picture) => picture?.height ?? 0)));
  const { gap, textSize } = proportions(Math.max(...widths));
  const style = { size: textSize, bold: true } as const;
  const rowHeaders = await Promise.all(
    rows.map((text) => textBlock(text, { ...style, width: Math.max(60, textSize * 11), align: 'right' })),
  );
  const columnHeaders = await Promise.all(
    columns.map((text, index) => textBlock(text, { ...style, width: widths[index] ?? 1 })),
  );
  const headerWidth = Math.max(0, ...rowHeaders.map(({ width }) => width));
  const headerHeight = Math.max(0, ...columnHeaders.map(({ height }) => height));

  const firstLeft = headerWidth > 0 ? headerWidth + 2 * gap : gap;
  const firstTop = headerHeight > 0 ? headerHeight + 2 * gap : gap;
  const lefts = positions(widths, firstLeft, gap);
  const tops = positions(heights, firstTop, gap);
  const layers: Layer[] = [
    ...rowHeaders.map((text, row) =>
      textLayer(text, gap + headerWidth - text.width, middle(tops[row], heights[row], text.height)),
    ),
    ...columnHeaders.map((text, column) =>
      textLayer(text, middle(lefts[column], widths[column], text.width), gap + headerHeight - text.height),
    ),
  ].filter(({ raw }) => raw.width > 1);
  for (const [row, cells] of pictures.entries()) {
    for (const [column, picture] of cells.entries()) {
      if (picture === null) continue;
      const left = middle(lefts[column], widths[column], picture.width);
      layers.push(pictureLayer(picture, left, middle(tops[row], heights[row], picture.height)));
    }
  }
  return await compose(
    (lefts.at(-1) ?? 0) + (widths.at(-1) ?? 0) + gap,
    (tops.at(-1) ?? 0) + (heights.at(-1) ?? 0) + gap,
    layers,
  );
}

function positions(lengths: readonly number[], first: number, gap: number): number[] {
  let next = first;
  return lengths.map((length) => {
    const position = next;
    next += length + gap;
    return position;
  });
}

function middle(start = 0, length = 0, inner = 0): number {
  return Math.round(start + (length - inner) / 2);
}

function textLayer({ input, raw }: TextBlock, left: number, top: number): Layer {
  return { input, raw, left, top };
}

function checkGrid(grid: PictureGrid): Required<PictureGrid> {
  const given = readOptions<PictureGrid>('pictureGrid options', grid, ['pictures', 'rows', 'columns']);
  const { pictures, rows = [], columns = [] } = given;
  if (!Array.isArray(pictures) || !pictures.every(Array.isArray))
    throw invalidArgumentType('pictures', 'rows of pictures', pictures);
  const columnCount = pictures[0]?.length ?? 0;
  if (columnCount === 0) throw argumentOutOfRange('pictures', 'at least one picture', 'none');
  const uneven = pictures.find((row) => row.length !== columnCount);
  if (uneven) throw argumentOutOfRange('pictures', `${columnCount} pictures in each row`, uneven.length);
  checkHeaders('rows', rows, pictures.length);
  checkHeaders('columns', columns, columnCount);
  return { pictures, rows, columns };
}

function checkHeaders(name: string, headers: unknown, count: number): void {
  if (!Array.isArray(headers) || !headers.every((header) => typeof header === 'string'))
    throw invalidArgumentType(name, 'an array of strings', headers);
  if (headers.length > 0 && headers.length !== count)
    throw argumentOutOfRange(name, `${count} headers, or none`, headers.length);
}
