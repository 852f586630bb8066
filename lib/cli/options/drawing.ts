import { type Command, InvalidArgumentError, Option } from 'commander';
import { UsageError } from '../../errors/usage-error.js';
import { colormapNames } from '../../visualization/colours/colormaps.js';
import { type MapDrawing, mapStyles, uselessFor } from '../../visualization/draw-maps.js';
import { isRaw, mapFormats } from '../../visualization/map-files.js';
import { parseWeight } from './arguments.js';

/** How maps are drawn, as the command line says it. */
export interface DrawingFlags extends MapDrawing {
  readonly style: NonNullable<MapDrawing['style']>;
  readonly format?: string;
}

/** Adds the options that say how maps are drawn. */
export function addDrawingOptions(
  command: Command,
  { style = 'overlay' as DrawingFlags['style'], format = formatOption() } = {},
): Command {
  return command
    .optionsGroup('How maps are drawn:')
    .addOption(
      new Option('--style <name>', 'how maps are drawn over the image').choices(mapStyles).default(style),
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
    .addOption(format);
}

function formatOption(): Option {
  return new Option('--format <name>', 'of the files in a folder; default: png').choices(mapFormats);
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
