import { extname } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Explanation } from '../cam/explanation.js';
import { type DrawingStyle, drawingStyles, drawMaps, mapsOfOriginal, uselessFor } from '../draw-maps.js';
import type { LoadedImage } from '../image/load-image.js';
import { writeTensor } from '../tensor-files.js';
import { type ColormapName, colormapNames } from '../visualization/colormaps.js';
import { parseWeight } from './arguments.js';
import { UsageError } from './exit-codes.js';

const formats = ['png', 'jpg', 'webp', 'avif', 'npy', 'json'] as const;

/** How maps are drawn, as the command line says it. */
export interface DrawingFlags {
  readonly style: DrawingStyle;
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
      new Option('--style <name>', 'how maps are drawn over the image').choices(drawingStyles).default(style),
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
  const useless = uselessFor(flags);
  if (useless) throw new UsageError(`${flagOf[useless]} changes nothing about the style '${style}'.`);
}

const flagOf = { colormap: '--colormap', threshold: '--threshold', imageWeight: '--image-weight' } as const;

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
    await writeTensor(flags.original ? mapsOfOriginal(image, maps) : heatmaps, path);
    return;
  }
  await (await drawMaps(image, maps, captions, flags, { beside })).toFile(path);
}
