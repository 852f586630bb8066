import { Command, Option } from 'commander';
import type { BatchFormat, SubmitBatchOptions } from '../../batch/index.js';
import { UsageError } from '../../errors/usage-error.js';
import type { Device } from '../../model/load-model.js';
import { mapFormats } from '../../visualization/map-files.js';
import { addModelOptions, type ModelFlags, parseCount, readLabels, sidecarOf } from '../options/arguments.js';
import { addDrawingOptions, checkDrawing, type DrawingFlags } from '../options/drawing.js';
import { addExplainOptions, checkClasses, type ExplainChoiceFlags } from '../options/explain.js';
import { addPreparationOptions, preparation } from '../options/preparation.js';
import { batchLibrary, type QueueFlags, withQueue } from '../options/queue.js';
import { FoundPictures } from '../terminal/batch-report.js';
import { printJson } from '../terminal/each-image.js';

interface SubmitFlags
  extends ExplainChoiceFlags,
    DrawingFlags,
    QueueFlags,
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

/** Checks the options, and puts a batch into the queue. */
export function submitCommand(signal: AbortSignal): Command {
  const command = new Command('submit')
    .summary('put images into the queue')
    .description(
      'Puts images into the queue, in chunks. Submitting again does nothing twice: it adds what is new, and tries again what failed.',
    )
    .argument('<model>', 'TorchScript file (.pt); its sidecar (model.json) is read')
    .argument('[images...]', "image files, folders with all below them, or patterns: 'photos/**/*.jpg'")
    .requiredOption('-o, --output <folder>', 'for the results; at the same path for all workers')
    .option('--list <file>', 'more images: a text with one path a line; - for standard input')
    .option('--json', 'print JSON instead of text');
  addModelOptions(command, "for trying out: 'cpu', 'cuda', 'cuda:N' or 'auto'").optionsGroup('The queue:');
  withQueue(command)
    .option('--chunk <count>', 'images in a chunk', parseCount, 64)
    .option('--attempts <count>', 'how often a chunk is tried that fails', parseCount, 3)
    .option('--no-try-out', 'do not explain the first image before queueing');
  addPreparationOptions(addExplainOptions(command));
  const format = new Option(
    '--format <name>',
    'of the results; none: only classes and scores, in the manifest; default: png',
  ).choices([...mapFormats, 'none']);
  return addDrawingOptions(command, { format }).action(
    async (model: string, images: string[], flags: SubmitFlags) => {
      checkClasses(flags);
      if (images.length === 0 && flags.list === undefined)
        throw new UsageError('Give images, folders or patterns, or a file with --list.');
      checkDrawing(flags, undefined, command);
      const { submitBatch } = await batchLibrary();
      const found = new FoundPictures();
      try {
        const submitted = await submitBatch({
          ...(await submission(model, images, flags)),
          signal,
          onProgress: (progress) => found.update(progress.images),
        });
        found.stop();
        if (flags.json) printJson(submitted);
        else FoundPictures.print(submitted, flags.queue);
      } finally {
        found.stop();
      }
    },
  );
}

async function submission(model: string, images: string[], flags: SubmitFlags): Promise<SubmitBatchOptions> {
  const { style, colormap, imageWeight, threshold, original } = flags;
  return {
    model,
    images,
    output: flags.output,
    redis: flags.redis,
    queue: flags.queue,
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
