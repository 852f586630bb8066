import { Command } from 'commander';
import { UsageError } from '../../errors/usage-error.js';
import { DeepFeatureFactorization } from '../../factorization/deep-feature-factorization.js';
import { loadImage } from '../../image/load-image.js';
import { selectOutput } from '../../model/output.js';
import { readScores } from '../../model/scores.js';
import { spellLayer } from '../../model/target-layers.js';
import { explainedPart, type Sidecar } from '../../sidecar/sidecar.js';
import { Tensor } from '../../tensor/tensor.js';
import { showFactorizationOnImage } from '../../visualization/overlays/show-factorization-on-image.js';
import { createLabelsLegend } from '../../visualization/pictures/labels-legend.js';
import { argumentOption, type ModelFlags, parseCount, readLabels } from '../options/arguments.js';
import { findImages, outputFiles } from '../options/image-files.js';
import { addPreparationOptions, openForPictures, type PreparationFlags } from '../options/preparation.js';

interface FactorizeFlags extends ModelFlags, PreparationFlags {
  readonly layer?: string;
  readonly components: number;
  readonly linear?: string;
  readonly output?: string;
  readonly labels?: string;
}

export function factorizeCommand(signal: AbortSignal): Command {
  const command = new Command('factorize')
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
    .addOption(argumentOption())
    .option('--labels <file>', 'class names: a JSON array, or one a line');
  return addPreparationOptions(command).action(
    async (modelPath: string, image: string, flags: FactorizeFlags) => {
      await factorizeImage(modelPath, image, flags, signal);
    },
  );
}

async function factorizeImage(
  modelPath: string,
  imagePath: string,
  flags: FactorizeFlags,
  signal: AbortSignal,
): Promise<void> {
  const [path = imagePath] = await findImages([imagePath]);
  const [output = ''] = outputFiles([path], flags.output);
  const { model, sidecar, prepare } = await openForPictures(modelPath, flags, signal);
  await using _ = model;
  const image = await loadImage(path, prepare);
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
  const { explanations, conceptOutputs, outputs, rounds } = await factorization.factorize(image.tensor, {
    components: flags.components,
    signal,
  });
  const labels = flags.labels ? await readLabels(flags.labels) : sidecar?.labels;
  const conceptLabels =
    conceptOutputs && classLegend(conceptOutputs, selectOutput(outputs, sidecar?.output), sidecar, labels);
  const legend = conceptLabels ? { conceptLabels } : {};
  const picture = await showFactorizationOnImage(image, explanations.at(0), legend);
  await picture.toFile(output);
  console.log(
    `Layer ${typeof targetLayer === 'string' ? targetLayer : spellLayer(targetLayer.path, targetLayer.output)}${suggested ? `: ${suggested.reason}` : ''}`,
  );
  console.log(`${flags.components} concepts after ${rounds} rounds`);
  for (const [index, label] of (conceptLabels ?? []).entries())
    console.log(`  concept ${index + 1}: ${label.replaceAll('\n', ', ')}`);
  console.log(`written: ${output}`);
}

/** The likeliest classes of each concept, by probabilities of the kind that the model's are. */
function classLegend(
  conceptOutputs: Tensor,
  output: unknown,
  sidecar: Sidecar | null,
  labels: readonly string[] | undefined,
): string[] {
  const [components = 0, outputs = 0] = conceptOutputs.shape;
  // A linear layer gives logits, also where the model makes probabilities of them.
  const kind =
    sidecar?.scores === 'probabilities' ? (sumsToOne(output) ? 'logits' : 'sigmoid') : sidecar?.scores;
  const scores = outputs === 1 && labels?.length === 2 ? 'binary' : (kind ?? 'logits');
  const rows = Array.from({ length: components }, (_, component) => {
    const row = Array.from(conceptOutputs.at(component).toTypedArray(), Number);
    return readScores(row, { scores }, conceptOutputs.dtype).probabilities ?? row;
  });
  const classes = rows[0]?.length ?? 0;
  const names = labels ?? Array.from({ length: classes }, (_, index) => `class ${index}`);
  return createLabelsLegend(Tensor.from(Float32Array.from(rows.flat()), [components, classes]), names);
}

function sumsToOne(output: unknown): boolean {
  if (!(output instanceof Tensor)) return true;
  const sum = Array.from(output.toTypedArray(), Number).reduce((total, value) => total + value, 0);
  return Math.abs(sum - 1) < 1e-2;
}
