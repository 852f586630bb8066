import { extname } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Explanation } from '../cam/explanation.js';
import type { LoadedImage } from '../image/load-image.js';
import { Tensor } from '../tensor.js';
import { writeTensor } from '../tensor-files.js';
import { applyColormap } from '../visualization/apply-colormap.js';
import { binaryMask } from '../visualization/binary-mask.js';
import { boxFromMap } from '../visualization/box-from-map.js';
import { type ColormapName, colormapNames } from '../visualization/colormaps.js';
import { drawOnOriginal, mapOfOriginal } from '../visualization/draw-on-original.js';
import { gaussianBlur } from '../visualization/gaussian-blur.js';
import type { Picture } from '../visualization/picture.js';
import type { RgbImage } from '../visualization/rgb-image.js';
import { showAttentionMap } from '../visualization/show-attention-map.js';
import { showBoxesOnImage } from '../visualization/show-boxes-on-image.js';
import { showCamOnImage } from '../visualization/show-cam-on-image.js';
import { showContoursOnImage } from '../visualization/show-contours-on-image.js';
import { showMaskOnImage } from '../visualization/show-mask-on-image.js';
import { type Panel, sideBySide } from '../visualization/side-by-side.js';
import { parseWeight } from './arguments.js';
import { UsageError } from './exit-codes.js';

const styles = ['overlay', 'attention', 'heat', 'contour', 'box', 'mask'] as const;
const formats = ['png', 'jpg', 'webp', 'avif', 'npy', 'json'] as const;

/** How maps are drawn, as the command line says it. */
export interface DrawingFlags {
  readonly style: (typeof styles)[number];
  readonly colormap?: ColormapName;
  readonly imageWeight?: number;
  readonly threshold?: number;
  readonly original?: boolean;
  readonly format?: (typeof formats)[number];
}

/** Adds the options that say how maps are drawn. */
export function addDrawingOptions(command: Command, style: DrawingFlags['style'] = 'overlay'): Command {
  return command
    .optionsGroup('How maps are drawn:')
    .addOption(
      new Option('--style <name>', 'how maps are drawn over the image').choices(styles).default(style),
    )
    .addOption(new Option('--colormap <name>', 'colours of the heat; default: jet').choices(colormapNames))
    .option(
      '--image-weight <weight>',
      'of an overlay: how much of the image stays, 0 to 1; default: 0.5',
      parseWeight,
    )
    .option(
      '--threshold <value>',
      'of contour, box and mask: the value from which on; default: 0.5',
      parseThreshold,
    )
    .option('--original', 'draw on the whole photo in its own size, not on what the model saw of it')
    .addOption(new Option('--format <name>', 'of the files in a folder; default: png').choices(formats));
}

function parseThreshold(value: string): number {
  const threshold = Number(value);
  if (value.trim() === '' || !(threshold > 0 && threshold <= 1))
    throw new InvalidArgumentError('It must be above 0, up to 1.');
  return threshold;
}

/** Refuses options that would change nothing. */
export function checkDrawing(flags: DrawingFlags, output: string | undefined, command: Command): void {
  const { style } = flags;
  if (isRaw(output ?? '') || flags.format === 'npy' || flags.format === 'json') {
    const isStyleGiven = command.getOptionValueSource('style') !== 'default';
    const useless = isStyleGiven ? '--style' : flags.colormap ? '--colormap' : null;
    if (useless) throw new UsageError(`${useless} changes nothing about raw maps (.npy, .json).`);
  }
  const hasColours = style === 'overlay' || style === 'attention' || style === 'heat';
  const refuse = (option: string, isUseful: boolean) => {
    if (!isUseful) throw new UsageError(`${option} changes nothing about the style '${style}'.`);
  };
  if (flags.colormap) refuse('--colormap', hasColours);
  if (flags.threshold !== undefined) refuse('--threshold', !hasColours);
  if (flags.imageWeight !== undefined) refuse('--image-weight', style === 'overlay');
}

export function isRaw(path: string): boolean {
  return ['.npy', '.json'].includes(extname(path).toLowerCase());
}

/**
 * Writes the maps of one image: drawn, with several captioned side by side; or raw, as the file's extension says.
 * @param beside - put the image itself to the left of its maps
 */
export async function writeMaps(
  image: LoadedImage,
  { heatmaps }: Explanation,
  captions: readonly string[],
  flags: DrawingFlags,
  path: string,
  { beside = false } = {},
): Promise<void> {
  const maps = captions.map((_, index) => heatmaps.at(index));
  if (isRaw(path)) {
    await writeTensor(flags.original ? stack(maps.map((map) => mapOfOriginal(image, map))) : heatmaps, path);
    return;
  }
  const pictures: Picture[] = [];
  for (const map of maps) {
    pictures.push(
      flags.original
        ? await drawOnOriginal(image, prepared(map, flags), (seen, heat) => draw(seen, heat, flags))
        : await draw(image, prepared(map, flags), flags),
    );
  }
  const panels: Panel[] = pictures.map((picture, index) => ({ picture, caption: captions[index] ?? '' }));
  if (beside) panels.unshift({ picture: flags.original ? await image.original() : image });
  const [only] = pictures;
  await (panels.length === 1 && only ? only : await sideBySide(panels)).toFile(path);
}

/** The blur of an attention map belongs to the model's view, also where the photo is much larger. */
function prepared(map: Tensor, { style }: DrawingFlags): Tensor {
  return style === 'attention' ? gaussianBlur(map, 0.02 * Math.max(...map.shape)) : map;
}

async function draw(image: RgbImage, map: Tensor, flags: DrawingFlags): Promise<Picture> {
  const { style, colormap, threshold = 0.5, imageWeight = 0.5 } = flags;
  const colours = colormap === undefined ? {} : { colormap };
  if (style === 'attention') return showAttentionMap(image, map, colours);
  if (style === 'heat') return applyColormap(map, colormap);
  if (style === 'contour') return await showContoursOnImage(image, map, { threshold });
  if (style === 'mask') return showMaskOnImage(image, binaryMask(map, threshold));
  if (style === 'box') {
    const box = boxFromMap(map, threshold);
    return await showBoxesOnImage(image, box ? [box] : []);
  }
  return showCamOnImage(image, map, { imageWeight, ...colours });
}

function stack(maps: readonly Tensor[]): Tensor {
  const shape = maps[0]?.shape ?? [];
  const size = shape.reduce((product, length) => product * length, 1);
  const values = new Float32Array(size * maps.length);
  for (const [index, map] of maps.entries()) values.set(map.toTypedArray() as Float32Array, index * size);
  return Tensor.from(values, [maps.length, ...shape]);
}
