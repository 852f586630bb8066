import { Command, Option } from 'commander';
import { readFirst } from '../../cam/explanation-report.js';
import {
  checkMethodChoice,
  createCam,
  type MethodName,
  type MethodOptions,
  methodNames,
} from '../../cam/methods/registry.js';
import { UsageError } from '../../errors/usage-error.js';
import { confidenceChange } from '../../metrics/confidence.js';
import { deletionAuc, insertionAuc } from '../../metrics/curves.js';
import { roadCombined } from '../../metrics/road.js';
import { explainedPart } from '../../sidecar/sidecar.js';
import {
  addModelOptions,
  assignments,
  collect,
  type LayerFlags,
  type ModelFlags,
  parseReshape,
} from '../options/arguments.js';
import { findImages, imagesHelp, readImage } from '../options/image-files.js';
import { addPreparationOptions, openForPictures, type PreparationFlags } from '../options/preparation.js';
import { eachImage, finish } from '../terminal/each-image.js';
import { ProgressReporter } from '../terminal/progress.js';
import { probabilityTarget } from './probability-targets.js';

interface EvaluateFlags extends ModelFlags, PreparationFlags, LayerFlags {
  readonly methods: string;
  /** By `method.name`. */
  readonly option?: Readonly<Record<string, unknown>>;
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
    .argument('<model>', 'model file (.pt2 or .pt)')
    .argument('<images...>', imagesHelp)
    .option('-m, --methods <names>', 'by comma', 'gradcam,gradcam++,layercam,eigencam,randomcam')
    .addOption(
      new Option(
        '--option <method.name=value>',
        'of one method: ablationcam.ratioChannelsToAblate=0.1 (docs/methods.md has all); may be repeated',
      ).argParser(assignments('ablationcam.ratioChannelsToAblate=0.1')),
    )
    .option('-l, --layer <path>', 'target layer; several are averaged; default: the suggested one', collect)
    .option(
      '--reshape <how>',
      "of a transformer's layer: tokens, tokens:1, tokens:1:14x21 or nhwc",
      parseReshape,
    )
    .option('--json', 'print JSON instead of text');
  addModelOptions(command);
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
  const choices = chosenMethods(flags);
  const images = await findImages(paths);
  const { model, sidecar, prepare } = await openForPictures(modelPath, flags, signal);
  await using _ = model;
  const options = { model, ...explainedPart(sidecar, flags) };
  const how = sidecar?.output === undefined ? {} : { output: sidecar.output };
  const cams = choices.map((choice) => ({ name: choice.method, cam: createCam(options, choice) }));
  const progress = new ProgressReporter(images.length, { json: true });
  const outcomes = await eachImage(images, { progress, signal }, async (path) => {
    const { tensor } = await readImage(path, prepare, signal);
    const measured = new Map<MethodName, Figures>();
    for (const { name, cam } of cams) {
      const started = performance.now();
      using explanation = await cam.explain(tensor, { signal });
      const milliseconds = performance.now() - started;
      const category = explanation.maps[0]?.classIndex ?? 0;
      const metric = {
        ...how,
        targets: probabilityTarget(readFirst(explanation, sidecar ?? {}), category),
        signal,
      };
      const { heatmaps } = explanation;
      measured.set(name, {
        road: (await roadCombined(model, tensor, heatmaps, metric))[0] ?? Number.NaN,
        change: (await confidenceChange(model, tensor, heatmaps, metric))[0] ?? Number.NaN,
        insertion: (await insertionAuc(model, tensor, heatmaps, metric))[0] ?? Number.NaN,
        deletion: (await deletionAuc(model, tensor, heatmaps, metric))[0] ?? Number.NaN,
        milliseconds,
      });
    }
    progress.advance();
    return measured;
  });
  const { done, failed } = outcomes;
  const means = done.length === 0 ? [] : choices.map(({ method }) => [method, meanOf(done, method)] as const);
  const ranked = means.toSorted(([, a], [, b]) => b.road - a.road);
  const report = {
    model: modelPath,
    images: done.length,
    methods: Object.fromEntries(ranked), // A figure that is NaN becomes null.
    failed,
  };
  if (!flags.json && !outcomes.end && done.length > 0) printRanking(ranked, done.length);
  finish(outcomes, flags.json ? report : null);
}

/** The methods with what each is told, checked before anything is loaded. */
function chosenMethods({
  methods,
  option = {},
}: EvaluateFlags): { method: MethodName; options: MethodOptions }[] {
  const names = methods.split(',').map((name) => name.trim());
  const unknown = names.find((name) => !methodNames.includes(name as MethodName));
  if (unknown !== undefined)
    throw new UsageError(`There is no method '${unknown}'. The methods are: ${methodNames.join(', ')}.`);
  const own = Object.entries(option).map(([key, value]) => {
    const [method = '', name = ''] = key.split('.', 2);
    if (!names.includes(method) || name === '')
      throw new UsageError(
        `--option '${key}': name one of the methods and its option, as in ablationcam.batchSize=32.`,
      );
    return { method, name, value };
  });
  return [...new Set(names)].map((method) =>
    checkMethodChoice({
      method: method as MethodName,
      options: Object.fromEntries(
        own.filter((each) => each.method === method).map(({ name, value }) => [name, value]),
      ),
    }),
  );
}

/** Over images. */
function meanOf(measured: readonly ReadonlyMap<MethodName, Figures>[], method: MethodName): Figures {
  const mean = (key: keyof Figures) =>
    measured.reduce((sum, ofImage) => sum + (ofImage.get(method)?.[key] ?? Number.NaN), 0) / measured.length;
  return Object.fromEntries(figures.map(([key]) => [key, mean(key)])) as Figures;
}

function printRanking(ranked: readonly (readonly [MethodName, Figures])[], images: number): void {
  const width = Math.max(6, ...ranked.map(([name]) => name.length));
  console.log(`${images} ${images === 1 ? 'image' : 'images'}, best first by ROAD\n`);
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
