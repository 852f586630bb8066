import { Command } from 'commander';
import { UsageError } from '../../errors/usage-error.js';
import { DeepFeatureFactorization } from '../../factorization/deep-feature-factorization.js';
import type { Model } from '../../model/model.js';
import { selectOutput } from '../../model/output.js';
import type { ReshapeTransform } from '../../model/reshape-transform.js';
import { readScores } from '../../model/scores.js';
import { spellLayer, type TargetLayer } from '../../model/target-layers.js';
import { explainedPart, type Sidecar } from '../../sidecar/sidecar.js';
import { Tensor } from '../../tensor/tensor.js';
import { isRaw } from '../../visualization/map-files.js';
import { showFactorizationOnImage } from '../../visualization/overlays/show-factorization-on-image.js';
import { createLabelsLegend } from '../../visualization/pictures/labels-legend.js';
import { addModelOptions, type ModelFlags, parseCount, readLabels } from '../options/arguments.js';
import { findImage, outputFiles, readImage, standardStream, writeResult } from '../options/image-files.js';
import { addPreparationOptions, openForPictures, type PreparationFlags } from '../options/preparation.js';
import { eachImage, finish } from '../terminal/each-image.js';
import { ProgressReporter } from '../terminal/progress.js';

interface FactorizeFlags extends ModelFlags, PreparationFlags {
  readonly layer?: string;
  readonly components: number;
  readonly linear?: string;
  readonly output?: string;
  readonly json?: boolean;
  readonly labels?: string;
}

export function factorizeCommand(signal: AbortSignal): Command {
  const command = new Command('factorize')
    .summary('draw the concepts that a layer sees')
    .description(
      'Draws which few concepts a layer sees in an image, and where, without any class (Deep Feature Factorization).',
    )
    .argument('<model>', 'model file (.pt2 or .pt)')
    .argument('<image>', 'image file; - for standard input')
    .option('-k, --components <count>', 'how many concepts', parseCount, 5)
    .option('-l, --layer <path>', 'the layer; default: the suggested one')
    .option('--linear <path>', 'linear layer that names the concepts, such as fc; its classes make a legend')
    .option(
      '-o, --output <path>',
      'picture (.png .jpg .webp .avif) or folder to write, or - for standard output; default: this folder',
    )
    .option('--json', 'print JSON instead of text')
    .option('--labels <file>', 'class names: a JSON array, or one a line');
  addModelOptions(command);
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
  const image = await findImage(imagePath);
  const [output = ''] = outputFiles([image], flags.output, flags);
  if (isRaw(output))
    throw new UsageError(`--output '${output}' is no picture, and that is what concepts are drawn as.`);
  const { model, sidecar, prepare } = await openForPictures(modelPath, flags, signal);
  await using _ = model;
  const labels = flags.labels ? await readLabels(flags.labels) : sidecar?.labels;
  const told = flags.output === standardStream ? 'stderr' : 'stdout';
  const progress = new ProgressReporter(1, { json: flags.json ?? false, told });
  const outcomes = await eachImage([image], { progress, signal }, async (path) => {
    const loaded = await readImage(path, prepare, signal);
    const { layer, reason, reshape } = await chosenLayer(model, sidecar, flags, loaded.tensor);
    const factorization = new DeepFeatureFactorization({
      model,
      targetLayer: layer,
      ...(reshape ? { reshapeTransform: reshape } : {}),
      ...(flags.linear === undefined ? {} : { computationOnConcepts: flags.linear }),
    });
    const { explanations, conceptOutputs, outputs, rounds } = await factorization.factorize(loaded.tensor, {
      components: flags.components,
      signal,
    });
    const conceptLabels =
      conceptOutputs && classLegend(conceptOutputs, selectOutput(outputs, sidecar?.output), sidecar, labels);
    const legend = conceptLabels ? { conceptLabels } : {};
    const picture = await showFactorizationOnImage(loaded, explanations.at(0), legend);
    await writeResult(output, undefined, (format) =>
      picture.toBuffer(format === 'jpg' ? 'jpeg' : (format as 'png')),
    );
    const spelt = typeof layer === 'string' ? layer : spellLayer(layer.path, layer.output);
    const concepts = conceptLabels?.map((label) => label.split('\n')) ?? null;
    progress.advance(
      `Layer ${spelt}${reason === null ? '' : `: ${reason}`}`,
      `${flags.components} concepts after ${rounds} rounds`,
      ...(concepts ?? []).map((names, index) => `  concept ${index + 1}: ${names.join(', ')}`),
      `written: ${output}`,
    );
    return { output, layer: spelt, reason, components: flags.components, rounds, concepts };
  });
  const [done] = outcomes.done;
  const [failed] = outcomes.failed;
  const report = { model: modelPath, image, ...done, ...(failed ? { error: failed.error } : {}) };
  finish(outcomes, flags.json ? report : null);
}

/** The layer that is asked for, or the sidecar's, or the suggested one with why. */
async function chosenLayer(
  model: Model,
  sidecar: Sidecar | null,
  flags: FactorizeFlags,
  input: Tensor,
): Promise<{ layer: TargetLayer; reason: string | null; reshape: ReshapeTransform | null }> {
  const { targetLayers, reshapeTransform } = explainedPart(
    sidecar,
    flags.layer ? { layer: [flags.layer] } : {},
  );
  const named = [targetLayers ?? []].flat();
  if (named.length > 1) throw new UsageError('Factorization takes one layer; name it with --layer.');
  const [layer] = named;
  if (layer !== undefined) return { layer, reason: null, reshape: reshapeTransform ?? null };
  const suggested = await model.suggestLayer(input);
  return {
    layer: suggested.path,
    reason: suggested.reason,
    reshape: reshapeTransform ?? suggested.reshapeTransform,
  };
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
