import { resolve } from 'node:path';
import { Command } from 'commander';
import { captionOf, describeExplanation, type ImageReport } from '../../cam/explanation-report.js';
import { methods } from '../../cam/methods/registry.js';
import { UsageError } from '../../errors/usage-error.js';
import { loadImage } from '../../image/load-image.js';
import { findClass } from '../../sidecar/labels.js';
import { explainedPart, sidecarPath } from '../../sidecar/sidecar.js';
import { topClassTargets } from '../../targets/class-targets.js';
import { writeMaps } from '../../visualization/map-files.js';
import { argumentOption, type ModelFlags, readLabels } from '../options/arguments.js';
import { addDrawingOptions, checkDrawing, type DrawingFlags } from '../options/drawing.js';
import { addExplainOptions, checkClasses, type ExplainChoiceFlags } from '../options/explain.js';
import { findImages, outputFiles } from '../options/image-files.js';
import { addPreparationOptions, openForPictures } from '../options/preparation.js';
import { concernsOneImage, SomeImagesFailed } from '../terminal/exit-codes.js';
import { ProgressReporter } from '../terminal/progress.js';

interface ExplainFlags extends ModelFlags, ExplainChoiceFlags, DrawingFlags {
  readonly output?: string;
  readonly json?: boolean;
}

export function explainCommand(signal: AbortSignal): Command {
  const command = new Command('explain')
    .summary('draw heatmaps over images')
    .description(
      "Draws heatmaps of what speaks for a class over images. Reads the model's sidecar (model.json).",
    )
    .argument('<model>', 'TorchScript file (.pt)')
    .argument('<images...>', 'image files, or folders of them')
    .option(
      '-o, --output <path>',
      'file to write (.png .jpg .webp .avif, raw maps: .npy .json) or folder; default: this folder',
    )
    .option('--json', 'print JSON instead of text')
    .option('--device <device>', "'cpu', 'cuda', 'cuda:N' or 'auto'", 'cpu')
    .addOption(argumentOption());
  addPreparationOptions(addExplainOptions(command));
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
  checkClasses(flags);
  const images = await findImages(paths);
  if (flags.output !== undefined && resolve(flags.output) === resolve(sidecarPath(modelPath)))
    throw new UsageError(`--output '${flags.output}' would overwrite the model's sidecar.`);
  const outputs = outputFiles(images, flags.output, flags.format);
  const { model, sidecar, prepare } = await openForPictures(modelPath, flags, signal);
  await using _ = model;
  const labels = flags.labels ? await readLabels(flags.labels) : sidecar?.labels;
  const targets = flags.class
    ? [flags.class.map((query) => findClass(labels, query))]
    : [topClassTargets(flags.top ?? 1)];
  const cam = new methods[flags.method]({ model, ...explainedPart(sidecar, { ...flags, labels }) });
  const meaning = { ...sidecar, labels };

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
        const report = describeExplanation(path, output, explanation, meaning);
        const captions = report.explained.map(captionOf);
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
  if (reports.some((report) => 'error' in report)) throw new SomeImagesFailed();
}
