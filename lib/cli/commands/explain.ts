import { resolve } from 'node:path';
import { Command } from 'commander';
import { captionOf, describeExplanation } from '../../cam/explanation-report.js';
import { checkMethodChoice, createCam } from '../../cam/methods/registry.js';
import { UsageError } from '../../errors/usage-error.js';
import { findClass } from '../../sidecar/labels.js';
import { explainedPart, sidecarPath } from '../../sidecar/sidecar.js';
import { topClassTargets } from '../../targets/class-targets.js';
import { encodeMaps } from '../../visualization/map-files.js';
import { addModelOptions, type ModelFlags, readLabels } from '../options/arguments.js';
import { addDrawingOptions, checkDrawing, type DrawingFlags } from '../options/drawing.js';
import { addExplainOptions, checkClasses, type ExplainChoiceFlags } from '../options/explain.js';
import {
  findImages,
  imagesHelp,
  outputFiles,
  readImage,
  resultsHelp,
  standardStream,
  writeResult,
} from '../options/image-files.js';
import { addPreparationOptions, openForPictures } from '../options/preparation.js';
import { eachImage, finish } from '../terminal/each-image.js';
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
    .argument('<model>', 'model file (.pt2 or .pt)')
    .argument('<images...>', imagesHelp)
    .option('-o, --output <path>', resultsHelp)
    .option('--json', 'print JSON instead of text');
  addModelOptions(command);
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
  const { method, option: options } = flags;
  checkMethodChoice({ method, options });
  const images = await findImages(paths);
  if (
    flags.output !== undefined &&
    resolve(flags.output) === resolve(flags.sidecar || sidecarPath(modelPath))
  )
    throw new UsageError(`--output '${flags.output}' would overwrite the model's sidecar.`);
  const outputs = outputFiles(images, flags.output, flags);
  const { model, sidecar, prepare } = await openForPictures(modelPath, flags, signal);
  await using _ = model;
  const labels = flags.labels ? await readLabels(flags.labels) : sidecar?.labels;
  const targets = flags.class
    ? [flags.class.map((query) => findClass(labels, query))]
    : [topClassTargets(flags.top ?? 1)];
  const cam = createCam({ model, ...explainedPart(sidecar, { ...flags, labels }) }, { method, options });
  const meaning = { ...sidecar, labels };

  const told = flags.output === standardStream ? 'stderr' : 'stdout';
  const progress = new ProgressReporter(images.length, { json: flags.json ?? false, told });
  const outcomes = await eachImage(images, { progress, signal }, async (path, index) => {
    const output = outputs[index] ?? '';
    const image = await readImage(path, prepare, signal);
    using explanation = await cam.explain(image.tensor, {
      targets,
      augSmooth: flags.augSmooth ?? false,
      eigenSmooth: flags.eigenSmooth ?? false,
      onProgress: (done, total) => progress.within(done, total),
      signal,
    });
    const report = describeExplanation(path, output, explanation, meaning);
    const captions = report.explained.map(captionOf);
    await writeResult(output, flags.format, (format) =>
      encodeMaps(image, explanation, captions, flags, format),
    );
    progress.succeeded(report);
    return report;
  });
  finish(outcomes, flags.json ? { model: modelPath, images: outcomes.all } : null);
}
