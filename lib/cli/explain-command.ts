import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import { type MethodName, methodNames, methods } from '../cam/methods.js';
import { describeExplanation, type ImageReport, nameOf, percent } from '../explanation-report.js';
import { loadImage } from '../image/load-image.js';
import { findClass } from '../labels.js';
import { writeMaps } from '../map-files.js';
import { sidecarPath } from '../sidecar.js';
import { TopClassTarget } from '../targets/class-targets.js';
import {
  collect,
  explainedPart,
  fitOption,
  type LayerFlags,
  openModel,
  type PreparationFlags,
  parseCount,
  parseInputSize,
  parseNumbers,
  parseReshape,
  preparation,
  readLabels,
} from './arguments.js';
import { addDrawingOptions, checkDrawing, type DrawingFlags } from './drawing.js';
import { concernsOneImage, exitCodes, UsageError } from './exit-codes.js';
import { findImages, outputFiles } from './image-files.js';
import { ProgressReporter } from './progress.js';

interface ExplainFlags extends PreparationFlags, LayerFlags, DrawingFlags {
  readonly class?: string[];
  readonly top?: number;
  readonly output?: string;
  readonly json?: boolean;
  readonly device: string;
  readonly labels?: string;
  readonly method: MethodName;
  readonly augSmooth?: boolean;
  readonly eigenSmooth?: boolean;
}

export function explainCommand(signal: AbortSignal): Command {
  const command = new Command('explain')
    .summary('draw heatmaps over images')
    .description(
      "Draws heatmaps of what speaks for a class over images. Reads the model's sidecar (model.json).",
    )
    .argument('<model>', 'TorchScript file (.pt)')
    .argument('<images...>', 'image files, or folders of them')
    .addOption(new Option('-m, --method <name>', 'how').choices(methodNames).default('gradcam'))
    .option('--aug-smooth', 'average over six changed copies of the image: smoother, six times the cost')
    .option('--eigen-smooth', 'keep the main pattern only: less noise')
    .option('-l, --layer <path>', 'target layer; several are averaged; default: the suggested one', collect)
    .option(
      '--reshape <how>',
      "of a transformer's layer: tokens, tokens:1, tokens:1:14x21 or nhwc",
      parseReshape,
    )
    .option('-c, --class <index-or-label>', 'class to explain; several are drawn side by side', collect)
    .option('-t, --top <count>', "the model's most likely classes, side by side", parseCount)
    .option(
      '-o, --output <path>',
      'file to write (.png .jpg .webp .avif, raw maps: .npy .json) or folder; default: this folder',
    )
    .option('--json', 'print JSON instead of text')
    .option('--device <device>', "'cpu', 'cuda', 'cuda:N' or 'auto'", 'cpu')
    .option('--size <size>', 'what the model sees: 224 or 224x320 (height x width)', parseInputSize)
    .addOption(fitOption())
    .option('--resize <pixels>', 'shorter side before the centre is cut out', parseCount)
    .option('--mean <numbers>', 'of each channel, 0 to 1: 0.485,0.456,0.406', parseNumbers)
    .option('--std <numbers>', 'of each channel: 0.229,0.224,0.225', parseNumbers)
    .option('--labels <file>', 'class names: a JSON array, or one a line');
  return addDrawingOptions(command).action(
    async (modelPath: string, images: string[], flags: ExplainFlags) => {
      checkDrawing(flags, flags.output, command);
      await explainImages(modelPath, images, flags, signal);
    },
  );
}

async function explainImages(
  modelPath: string,
  paths: readonly string[],
  flags: ExplainFlags,
  signal: AbortSignal,
): Promise<void> {
  if (flags.class && flags.top) throw new UsageError('Give --class or --top, not both.');
  const images = await findImages(paths);
  if (flags.output !== undefined && resolve(flags.output) === resolve(sidecarPath(modelPath)))
    throw new UsageError(`--output '${flags.output}' would overwrite the model's sidecar.`);
  const outputs = outputFiles(images, flags.output, flags.format);
  const { model, sidecar } = await openModel(modelPath, flags.device, signal);
  await using _ = model;
  const labels = flags.labels ? await readLabels(flags.labels) : sidecar?.labels;
  const prepare = preparation(sidecar, flags);
  const targets = flags.class
    ? [flags.class.map((query) => findClass(labels, query))]
    : [Array.from({ length: flags.top ?? 1 }, (_unused, rank) => new TopClassTarget(rank))];
  const cam = new methods[flags.method]({ model, ...explainedPart(sidecar, flags) });

  const reports: ImageReport[] = [];
  const progress = new ProgressReporter(images.length, { json: flags.json ?? false });
  try {
    for (const [index, path] of images.entries()) {
      signal.throwIfAborted();
      const output = outputs[index] ?? '';
      try {
        const image = await loadImage(path, prepare);
        using explanation = await cam.explain(image.tensor, {
          targets,
          augSmooth: flags.augSmooth ?? false,
          eigenSmooth: flags.eigenSmooth ?? false,
          onProgress: (done, total) => progress.within(done, total),
          signal,
        });
        const report = describeExplanation(path, output, explanation, labels, sidecar?.output);
        const captions = report.explained.map((each) => `${nameOf(each)} ${percent(each.probability)}`);
        await writeMaps(image, explanation, captions, flags, output);
        reports.push(report);
        progress.succeeded(report);
      } catch (error) {
        if (signal.aborted || !concernsOneImage(error)) throw error;
        const { code = 'ERR_INTERNAL', message } = error as Error & { code?: string };
        reports.push({ path, error: { code, message } });
        progress.failed(path, error as Error);
      }
    }
  } finally {
    progress.stop();
  }
  if (flags.json) console.log(JSON.stringify({ model: modelPath, images: reports }, null, 2));
  if (reports.some((report) => 'error' in report)) process.exitCode = exitCodes.someImagesFailed;
}
