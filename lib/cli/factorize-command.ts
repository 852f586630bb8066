import { Command } from 'commander';
import { DeepFeatureFactorization } from '../cam/deep-feature-factorization.js';
import { loadImage } from '../image/load-image.js';
import { explainedPart } from '../sidecar.js';
import { createLabelsLegend } from '../visualization/labels-legend.js';
import { showFactorizationOnImage } from '../visualization/show-factorization-on-image.js';
import {
  fitOption,
  openModel,
  type PreparationFlags,
  parseCount,
  parseInputSize,
  preparation,
  printWarnings,
  readLabels,
} from './arguments.js';
import { UsageError } from './exit-codes.js';
import { findImages, outputFiles } from './image-files.js';

interface FactorizeFlags extends PreparationFlags {
  readonly layer?: string;
  readonly components: number;
  readonly linear?: string;
  readonly output?: string;
  readonly device: string;
  readonly labels?: string;
}

export function factorizeCommand(signal: AbortSignal): Command {
  return new Command('factorize')
    .summary('draw the concepts that a layer sees')
    .description(
      'Draws which few concepts a layer sees in an image, and where, without any class (Deep Feature Factorization).',
    )
    .argument('<model>', 'TorchScript file (.pt)')
    .argument('<image>', 'image file')
    .option('-k, --components <count>', 'how many concepts', parseCount, 5)
    .option('-l, --layer <path>', 'the layer; default: the suggested one')
    .option('--linear <path>', 'linear layer that names the concepts, such as fc; its classes make a legend')
    .option('-o, --output <path>', 'picture (.png .jpg .webp .avif) or folder to write; default: this folder')
    .option('--device <device>', "'cpu', 'cuda', 'cuda:N' or 'auto'", 'cpu')
    .option('--size <size>', 'what the model sees: 224 or 224x320 (height x width)', parseInputSize)
    .addOption(fitOption())
    .option('--labels <file>', 'class names: a JSON array, or one a line')
    .action(async (modelPath: string, image: string, flags: FactorizeFlags) => {
      await factorizeImage(modelPath, image, flags, signal);
    });
}

async function factorizeImage(
  modelPath: string,
  imagePath: string,
  flags: FactorizeFlags,
  signal: AbortSignal,
): Promise<void> {
  const [path = imagePath] = await findImages([imagePath]);
  const [output = ''] = outputFiles([path], flags.output);
  const { model, sidecar } = await openModel(modelPath, flags.device, signal);
  await using _ = model;
  printWarnings(model);
  const image = await loadImage(path, preparation(sidecar, flags));
  const { targetLayers, reshapeTransform } = explainedPart(
    sidecar,
    flags.layer ? { layer: [flags.layer] } : {},
  );
  const named = Array.isArray(targetLayers) ? targetLayers : targetLayers === undefined ? [] : [targetLayers];
  if (named.length > 1) throw new UsageError('Factorization takes one layer; name it with --layer.');
  const suggested = named.length === 0 ? await model.suggestLayer(image.tensor) : null;
  const targetLayer = named[0] ?? suggested?.path ?? '';
  const reshape = reshapeTransform ?? suggested?.reshapeTransform;
  const factorization = new DeepFeatureFactorization({
    model,
    targetLayer,
    ...(reshape ? { reshapeTransform: reshape } : {}),
    ...(flags.linear === undefined ? {} : { computationOnConcepts: flags.linear }),
  });
  const { explanations, conceptOutputs, rounds } = await factorization.factorize(image.tensor, {
    components: flags.components,
    signal,
  });
  const labels = flags.labels ? await readLabels(flags.labels) : sidecar?.labels;
  const classes = conceptOutputs?.shape[1] ?? 0;
  const names = labels ?? Array.from({ length: classes }, (_unused, index) => `class ${index}`);
  const legend = conceptOutputs ? { conceptLabels: createLabelsLegend(conceptOutputs.softmax(), names) } : {};
  const picture = await showFactorizationOnImage(image, explanations.at(0), legend);
  await picture.toFile(output);
  console.log(
    `Layer ${typeof targetLayer === 'string' ? targetLayer : targetLayer.path}${suggested ? `: ${suggested.reason}` : ''}`,
  );
  console.log(`${flags.components} concepts after ${rounds} rounds`);
  console.log(`written: ${output}`);
}
