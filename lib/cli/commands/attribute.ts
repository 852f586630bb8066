import { Command, Option } from 'commander';
import { GuidedBackprop, Saliency } from '../../attribution/gradient-attributions.js';
import { guidedGradCam } from '../../attribution/guided-grad-cam.js';
import { IntegratedGradients } from '../../attribution/integrated-gradients.js';
import { GradCAM } from '../../cam/methods/gradient-methods.js';
import type { Model } from '../../model/model.js';
import { findClass } from '../../sidecar/labels.js';
import { explainedPart, type Sidecar } from '../../sidecar/sidecar.js';
import type { Targets } from '../../targets/target.js';
import { encodeTensor } from '../../tensor/files.js';
import type { Tensor } from '../../tensor/tensor.js';
import { signedMap } from '../../visualization/maps/signed-map.js';
import { applyColormap } from '../../visualization/overlays/apply-colormap.js';
import { deprocessImage } from '../../visualization/overlays/deprocess-image.js';
import type { Picture } from '../../visualization/pictures/picture.js';
import {
  addModelOptions,
  collect,
  type LayerFlags,
  type ModelFlags,
  parseCount,
  readLabels,
} from '../options/arguments.js';
import {
  findImages,
  imagesHelp,
  outputFiles,
  readImage,
  resultsHelp,
  standardStream,
  writeResult,
} from '../options/image-files.js';
import { addPreparationOptions, openForPictures, type PreparationFlags } from '../options/preparation.js';
import { eachImage, finish } from '../terminal/each-image.js';
import { ProgressReporter } from '../terminal/progress.js';
import { sideTarget } from './probability-targets.js';

const methodNames = ['guidedbackprop', 'guidedgradcam', 'saliency', 'integratedgradients'] as const;

interface AttributeFlags extends ModelFlags, PreparationFlags, LayerFlags {
  readonly method: (typeof methodNames)[number];
  readonly steps: number;
  readonly class?: string;
  readonly output?: string;
  readonly json?: boolean;
  readonly labels?: string;
}

interface Context {
  readonly model: Model;
  readonly sidecar: Sidecar | null;
  readonly flags: AttributeFlags;
  readonly signal: AbortSignal;
}

export function attributeCommand(signal: AbortSignal): Command {
  const command = new Command('attribute')
    .summary('draw which pixels speak for a class')
    .description(
      "Draws which pixels of an image speak for a class, from gradients of the model's input. No layer is needed.",
    )
    .argument('<model>', 'model file (.pt2 or .pt)')
    .argument('<images...>', imagesHelp)
    .addOption(new Option('-m, --method <name>', 'how').choices(methodNames).default('guidedbackprop'))
    .option('--steps <count>', 'points of integrated gradients', parseCount, 50)
    .option('-l, --layer <path>', 'target layer of guidedgradcam; default: the suggested one', collect)
    .option('-c, --class <index-or-label>', 'class to explain; default: the most likely one')
    .option('-o, --output <path>', resultsHelp)
    .option('--json', 'print JSON instead of text')
    .option('--labels <file>', 'class names: a JSON array, or one a line');
  addModelOptions(command);
  return addPreparationOptions(command).action(
    async (modelPath: string, images: string[], flags: AttributeFlags) => {
      await attributeImages(modelPath, images, flags, signal);
    },
  );
}

async function attributeImages(
  modelPath: string,
  paths: readonly string[],
  flags: AttributeFlags,
  signal: AbortSignal,
): Promise<void> {
  const images = await findImages(paths);
  const outputs = outputFiles(images, flags.output, flags);
  const { model, sidecar, prepare } = await openForPictures(modelPath, flags, signal);
  await using _ = model;
  const labels = flags.labels ? await readLabels(flags.labels) : sidecar?.labels;
  const wanted = flags.class === undefined ? undefined : findClass(labels, flags.class);
  const told = flags.output === standardStream ? 'stderr' : 'stdout';
  const progress = new ProgressReporter(images.length, { json: flags.json ?? false, told });
  const outcomes = await eachImage(images, { progress, signal }, async (path, index) => {
    const output = outputs[index] ?? '';
    const { tensor } = await readImage(path, prepare, signal);
    const target = await sideTarget(model, sidecar ?? {}, labels, wanted, tensor, signal);
    const targets = target === undefined ? {} : { targets: target };
    const onProgress = (done: number, total: number) => progress.within(done, total);
    using values = await attributed(tensor, { model, sidecar, flags, signal }, targets, onProgress);
    await writeResult(output, undefined, async (format) =>
      format === 'npy' || format === 'json'
        ? encodeTensor(values, format)
        : await picture(values.at(0), flags.method).toBuffer(format === 'jpg' ? 'jpeg' : (format as 'png')),
    );
    progress.advance(`${path}  -> ${output}`);
    return { path, output };
  });
  finish(outcomes, flags.json ? { model: modelPath, method: flags.method, images: outcomes.all } : null);
}

/** `[1, C, H, W]`, signed. */
async function attributed(
  input: Tensor,
  { model, sidecar, flags, signal }: Context,
  targets: { targets?: Targets },
  onProgress: (done: number, total: number) => void,
): Promise<Tensor> {
  const { output, targetLayers, reshapeTransform } = explainedPart(sidecar, {
    layer: flags.layer,
    reshape: flags.reshape,
  });
  const layer = {
    ...(targetLayers === undefined ? {} : { targetLayers }),
    ...(reshapeTransform === undefined ? {} : { reshapeTransform }),
  };
  const options = { model, ...(output === undefined ? {} : { output }) };
  if (flags.method === 'guidedgradcam') {
    const cam = new GradCAM({ ...options, ...layer });
    return await guidedGradCam(cam, new GuidedBackprop(options), input, { ...targets, signal });
  }
  const methods = {
    guidedbackprop: () => new GuidedBackprop(options),
    saliency: () => new Saliency(options),
    integratedgradients: () => new IntegratedGradients({ ...options, steps: flags.steps }),
  };
  const { attributions, outputs } = await methods[flags.method]().attribute(input, {
    ...targets,
    onProgress,
    signal,
  });
  if ('dispose' in Object(outputs)) (outputs as Tensor).dispose();
  return attributions;
}

function picture(values: Tensor, method: AttributeFlags['method']): Picture {
  if (method === 'saliency') return applyColormap(signedMap(values, { sign: 'absolute' }), 'inferno');
  if (method === 'integratedgradients') return applyColormap(signedMap(values, { sign: 'all' }), 'diverging');
  return deprocessImage(values);
}
