import { Command } from 'commander';
import { readFirst } from '../../cam/explanation-report.js';
import { type MethodName, methodNames, methods } from '../../cam/methods/registry.js';
import { UsageError } from '../../errors/usage-error.js';
import { loadImage } from '../../image/load-image.js';
import { confidenceChange } from '../../metrics/confidence.js';
import { deletionAuc, insertionAuc } from '../../metrics/curves.js';
import { roadCombined } from '../../metrics/road.js';
import { explainedPart } from '../../sidecar/sidecar.js';
import { argumentOption, type LayerFlags, type ModelFlags, parseReshape } from '../options/arguments.js';
import { findImages } from '../options/image-files.js';
import { addPreparationOptions, openForPictures, type PreparationFlags } from '../options/preparation.js';
import { ProgressReporter } from '../terminal/progress.js';
import { probabilityTarget } from './probability-targets.js';

interface EvaluateFlags extends ModelFlags, PreparationFlags, LayerFlags {
  readonly methods: string;
  readonly json?: boolean;
}

const figures = [
  ['road', 'ROAD', 'higher'],
  ['change', 'change', 'higher'],
  ['insertion', 'insertion', 'higher'],
  ['deletion', 'deletion', 'lower'],
  ['milliseconds', 'ms/image', 'lower'],
] as const;
type Figures = Record<(typeof figures)[number][0], number>;

export function evaluateCommand(signal: AbortSignal): Command {
  const command = new Command('evaluate')
    .summary('rank methods by metrics on images')
    .description(
      'Explains the predicted class of each image by several methods and measures how much the maps matter to the model.',
    )
    .argument('<model>', 'TorchScript file (.pt)')
    .argument('<images...>', 'image files, or folders of them')
    .option('-m, --methods <names>', 'by comma', 'gradcam,gradcam++,layercam,eigencam,randomcam')
    .option('-l, --layer <paths...>', 'target layers; default: the suggested one')
    .option(
      '--reshape <how>',
      "of a transformer's layer: tokens, tokens:1, tokens:1:14x21 or nhwc",
      parseReshape,
    )
    .option('--device <device>', "'cpu', 'cuda', 'cuda:N' or 'auto'", 'cpu')
    .addOption(argumentOption())
    .option('--json', 'print JSON');
  return addPreparationOptions(command).action(
    async (modelPath: string, images: string[], flags: EvaluateFlags) => {
      await evaluateMethods(modelPath, images, flags, signal);
    },
  );
}

async function evaluateMethods(
  modelPath: string,
  paths: readonly string[],
  flags: EvaluateFlags,
  signal: AbortSignal,
): Promise<void> {
  const names = flags.methods.split(',').map((name) => name.trim());
  const unknown = names.find((name) => !Object.hasOwn(methods, name));
  if (unknown !== undefined)
    throw new UsageError(`There is no method '${unknown}'. The methods are: ${methodNames.join(', ')}.`);
  const images = await findImages(paths);
  const { model, sidecar, prepare } = await openForPictures(modelPath, flags, signal);
  await using _ = model;
  const options = { model, ...explainedPart(sidecar, flags) };
  const how = sidecar?.output === undefined ? {} : { output: sidecar.output };
  const sums = new Map<string, Figures>();
  const progress = new ProgressReporter(images.length * names.length, { json: true });
  try {
    for (const path of images) {
      const { tensor } = await loadImage(path, prepare);
      for (const name of names) {
        const started = performance.now();
        using explanation = await new methods[name as MethodName](options).explain(tensor, { signal });
        const milliseconds = performance.now() - started;
        const category = explanation.maps[0]?.classIndex ?? 0;
        const metric = {
          ...how,
          targets: probabilityTarget(readFirst(explanation, sidecar ?? {}), category),
          signal,
        };
        const { heatmaps } = explanation;
        const measured: Figures = {
          road: (await roadCombined(model, tensor, heatmaps, metric))[0] ?? 0,
          change: (await confidenceChange(model, tensor, heatmaps, metric))[0] ?? 0,
          insertion: (await insertionAuc(model, tensor, heatmaps, metric))[0] ?? 0,
          deletion: (await deletionAuc(model, tensor, heatmaps, metric))[0] ?? 0,
          milliseconds,
        };
        const sum = sums.get(name);
        for (const [key] of figures) measured[key] = measured[key] / images.length + (sum?.[key] ?? 0);
        sums.set(name, measured);
        progress.advance();
      }
    }
  } finally {
    progress.stop();
  }
  const ranked = [...sums].sort(([, a], [, b]) => b.road - a.road);
  if (flags.json) {
    console.log(
      JSON.stringify(
        { model: modelPath, images: images.length, methods: Object.fromEntries(ranked) },
        null,
        2,
      ),
    );
    return;
  }
  const width = Math.max(6, ...names.map((name) => name.length));
  console.log(`${images.length} ${images.length === 1 ? 'image' : 'images'}, best first by ROAD\n`);
  console.log(['method'.padEnd(width), ...figures.map(([, title]) => title.padStart(11))].join(''));
  for (const [name, values] of ranked) {
    const cells = figures.map(([key]) => values[key].toFixed(key === 'milliseconds' ? 1 : 3).padStart(11));
    console.log([name.padEnd(width), ...cells].join(''));
  }
  console.log(`
ROAD       half of what removing least minus most relevant pixels changes
change     of the probability, when the image is multiplied by its map
insertion  area under the probability as relevant pixels come
deletion   the same as they go
Better is higher, but for deletion and ms/image.`);
}
