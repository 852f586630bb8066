import type { RgbColor } from '../colours/colormaps.js';
import { compose, type Layer, pictureLayer, proportions } from './canvas.js';
import { Picture } from './picture.js';
import { textBlock } from './text-block.js';

export interface LegendEntry {
  readonly color: RgbColor;
  readonly label: string;
}

/**
 * A picture with a legend at its right: for each entry its colour and what it stands for.
 * @internal
 */
export async function withLegend(picture: Picture, entries: readonly LegendEntry[]): Promise<Picture> {
  const { gap, textSize } = proportions(picture.width);
  const swatch = Math.round(textSize * 1.1);
  const style = {
    width: Math.max(textSize * 14, Math.round(picture.width * 0.8)),
    size: textSize,
    align: 'left',
  } as const;
  const labels = await Promise.all(entries.map(({ label }) => textBlock(label, { ...style, maxLines: 5 })));
  const heights = labels.map(({ height }) => Math.max(swatch, height));
  const total = heights.reduce((sum, height) => sum + height + gap, -gap);
  const height = Math.max(picture.height, total) + 2 * gap;
  const swatchLeft = picture.width + 2 * gap;
  const textLeft = swatchLeft + swatch + gap;

  const layers: Layer[] = [pictureLayer(picture, gap, (height - picture.height) / 2)];
  let top = Math.round((height - total) / 2);
  for (const [index, { color }] of entries.entries()) {
    const label = labels[index];
    const lineHeight = heights[index] ?? 0;
    layers.push(pictureLayer(plain(color, swatch), swatchLeft, top));
    if (label && label.height > 0) layers.push({ ...label, left: textLeft, top });
    top += lineHeight + gap;
  }
  const widest = Math.max(0, ...labels.map(({ width }) => width));
  return await compose(textLeft + widest + gap, height, layers);
}

function plain(color: RgbColor, size: number): Picture {
  const rgb = Uint8Array.from({ length: size * size * 3 }, (_, index) => color[index % 3] ?? 0);
  return new Picture(rgb, size, size);
}
