import { type Command, Option } from 'commander';
import type { BatchFormat, BatchOptions } from '../../batch/index.js';
import { UsageError } from '../../errors/usage-error.js';
import type { Device } from '../../model/load-model.js';
import { mapFormats } from '../../visualization/map-files.js';
import { addModelOptions, type ModelFlags, parseCount, readLabels, sidecarOf } from './arguments.js';
import { addDrawingOptions, checkDrawing, type DrawingFlags } from './drawing.js';
import { addExplainOptions, checkClasses, type ExplainChoiceFlags } from './explain.js';
import { addPreparationOptions, preparation } from './preparation.js';

/** What a batch is, as the command line says it. */
export interface BatchFlags
  extends ExplainChoiceFlags,
    DrawingFlags,
    Pick<ModelFlags, 'argument' | 'sidecar'> {
  readonly output: string;
  readonly list?: string;
  readonly chunk: number;
  readonly format?: BatchFormat;
  readonly attempts: number;
  readonly device: Device;
  readonly tryOut: boolean;
  readonly json?: boolean;
}

/**
 * Adds the arguments and options that say what a batch is.
 * @param addOwn adds what the command alone has, in a group of its own
 */
export function addBatchOptions(
  command: Command,
  {
    output,
    device,
    addOwn,
  }: {
    readonly output: string;
    readonly device?: string | undefined;
    readonly addOwn: (command: Command) => void;
  },
): Command {
  command
    .argument('<model>', 'model file (.pt2 or .pt); its sidecar (model.json) is read')
    .argument('[images...]', "image files, folders with all below them, or patterns: 'photos/**/*.jpg'")
    .requiredOption('-o, --output <folder>', output)
    .option('--list <file>', 'more images: a text with one path a line; - for standard input')
    .option('--json', 'print JSON instead of text');
  addModelOptions(command, device);
  addOwn(command);
  addPreparationOptions(addExplainOptions(command));
  const format = new Option(
    '--format <name>',
    'of the results; none: only classes and scores, in the manifest; default: png',
  ).choices([...mapFormats, 'none']);
  return addDrawingOptions(command, { format });
}

/** Adds how the images are cut into chunks, and how often one is tried. */
export function addChunkOptions(command: Command): Command {
  return command
    .option('--chunk <count>', 'images in a chunk', parseCount, 64)
    .option('--attempts <count>', 'how often a chunk is tried that fails', parseCount, 3);
}

/** The flags, checked, as the library's options. */
export async function batchOptions(
  command: Command,
  model: string,
  images: string[],
  flags: BatchFlags,
): Promise<BatchOptions> {
  checkClasses(flags);
  if (images.length === 0 && flags.list === undefined)
    throw new UsageError('Give images, folders or patterns, or a file with --list.');
  checkDrawing(flags, undefined, command);
  const { style, colormap, imageWeight, threshold, original } = flags;
  return {
    model,
    images,
    output: flags.output,
    chunkSize: flags.chunk,
    method: flags.method,
    image: preparation(await sidecarOf(model, flags), flags),
    augSmooth: flags.augSmooth ?? false,
    eigenSmooth: flags.eigenSmooth ?? false,
    drawing: {
      style,
      ...(colormap === undefined ? {} : { colormap }),
      ...(imageWeight === undefined ? {} : { imageWeight }),
      ...(threshold === undefined ? {} : { threshold }),
      ...(original === undefined ? {} : { original }),
    },
    attempts: flags.attempts,
    device: flags.device,
    tryOut: flags.tryOut,
    ...(flags.format === undefined ? {} : { format: flags.format }),
    ...(flags.list === undefined ? {} : { list: flags.list }),
    ...(flags.layer === undefined ? {} : { targetLayers: flags.layer }),
    ...(flags.reshape === undefined ? {} : { reshapeTransform: flags.reshape }),
    ...(flags.sidecar === undefined ? {} : { sidecar: flags.sidecar }),
    ...(flags.option === undefined ? {} : { options: flags.option }),
    ...(flags.argument === undefined ? {} : { arguments: flags.argument }),
    ...(flags.class === undefined ? {} : { classes: flags.class }),
    ...(flags.top === undefined ? {} : { top: flags.top }),
    ...(flags.labels === undefined ? {} : { labels: await readLabels(flags.labels) }),
  };
}
