import { basename } from 'node:path';
import { GradCAM } from '../cam/methods/gradient-methods.js';
import type { GradCamError } from '../errors/errors.js';
import { UsageError } from '../errors/usage-error.js';
import type { Inspection, Model } from '../model/model.js';
import { disposeOutput, type ModelOutput, type OutputSelector, selectOutput } from '../model/output.js';
import type { ReshapeTransform } from '../model/reshape-transform.js';
import { readScores, type Scores } from '../model/scores.js';
import { parseLayer } from '../model/target-layers.js';
import { FasterRCNNBoxScoreTarget, SemanticSegmentationTarget } from '../targets/dense-targets.js';
import { detectedBoxes, pathToDetections } from '../targets/detections.js';
import type { Target } from '../targets/target.js';
import { elementCount } from '../tensor/element-count.js';
import { Tensor } from '../tensor/tensor.js';
import { type PresetName, presetInput } from './presets.js';
import type { Sidecar, SidecarInput, Task } from './sidecar.js';

/** What is tried, in this order, where no size is given. */
const likelySizes = [224, 256, 299, 384, 448, 512, 640, 336, 288, 240, 192, 160, 128, 112, 96, 64, 32, 28];

export interface DraftWishes {
  readonly preset: PresetName;
  /** [height, width], or [height] of a square. */
  readonly size: readonly number[] | undefined;
  readonly channels: number | undefined;
  readonly layers: readonly string[] | undefined;
  readonly reshape: ReshapeTransform | 'none' | undefined;
  readonly task: Task | undefined;
  readonly scores: Scores | undefined;
  readonly labelCount: number | undefined;
  readonly signal: AbortSignal;
}

export interface SidecarDraft {
  readonly sidecar: Sidecar;
  /** Of the explained output; null where that is no tensor. */
  readonly outputShape: readonly number[] | null;
  readonly layerReason: string;
  /** How it is known what the model does. */
  readonly taskReason: string;
  /** How it is known what the outputs are, or why it is not; '' where there is nothing to say. */
  readonly scoresReason: string;
  /** Of the layer in a trial explanation of noise, `[1, C, ...space]`; null where none was possible, and why. */
  readonly trial: { readonly shape: readonly number[] } | { readonly failure: string };
}

/** Runs the model to find out what it takes and gives, and which layer can be explained. */
export async function draftSidecar(model: Model, wishes: DraftWishes): Promise<SidecarDraft> {
  const { preset, signal } = wishes;
  const { noise, height, width, channels, output } = await findInput(model, wishes);
  const inspection = await model.inspect(noise, { signal });
  await tryBatch(model, noise, signal);
  const selector = selectorOf(output);
  const explained = selectOutput(output, selector);
  const { task, reason: taskReason } = chooseTask(explained, wishes);
  const { layers, reshape, reason } = chooseLayers(inspection, wishes);
  const input: SidecarInput = presetInput(preset, width, height, channels);
  const { scores, reason: scoresReason } = chooseScores(explained, wishes);
  const sidecar: Sidecar = {
    name: basename(model.path).replace(/\.[^.]+$/, ''),
    input,
    ...(layers.length === 0 ? {} : { layer: layers.length === 1 ? (layers[0] as string) : layers }),
    ...(reshape === undefined ? {} : { reshapeTransform: reshape }),
    ...(selector === undefined ? {} : { output: selector }),
    ...(task === 'classification' ? {} : { task }),
    ...(scores === undefined ? {} : { scores }),
  };
  const outputShape = explained instanceof Tensor ? explained.shape : null;
  return {
    sidecar,
    outputShape,
    layerReason: reason,
    taskReason,
    scoresReason,
    trial: await tryExplaining(model, noise, sidecar, explained, signal),
  };
}

/** The model itself learns from it whether it takes one image only. */
async function tryBatch(model: Model, noise: Tensor, signal: AbortSignal): Promise<void> {
  const image = noise.toTypedArray() as Float32Array;
  const two = Float32Array.from([...image, ...image]);
  using batch = Tensor.from(two, [2, ...noise.shape.slice(1)]);
  try {
    disposeOutput(await model.forward(batch, { signal }));
  } catch {
    signal.throwIfAborted();
  }
}

interface FoundInput {
  readonly noise: Tensor;
  readonly height: number;
  readonly width: number;
  readonly channels: 1 | 3;
  readonly output: ModelOutput;
}

async function findInput(model: Model, { size, channels, signal }: DraftWishes): Promise<FoundInput> {
  const sizes = size ? [size] : likelySizes.map((side) => [side]);
  let firstFailure: Error | undefined;
  for (const [height = 1, width = height] of sizes) {
    for (const count of channels === undefined ? [3, 1] : [channels]) {
      const noise = noiseImage([1, count, height, width]);
      try {
        const output = await model.forward(noise, { signal });
        return { noise, height, width, channels: count as 1 | 3, output };
      } catch (error) {
        signal.throwIfAborted();
        // Another size helps against these only.
        if (!['ERR_INPUT_SHAPE', 'ERR_FORWARD'].includes((error as GradCamError).code)) throw error;
        firstFailure ??= error as Error;
      }
    }
  }
  const tried = size
    ? `an image of ${size.join(' x ')}`
    : `images of ${likelySizes.slice(0, 4).join(', ')} and other usual sizes`;
  const withChannels = { 1: '1 channel', 3: '3 channels' }[channels ?? 0] ?? '3 channels or 1';
  throw new UsageError(
    `The model does not run on ${tried}, with ${withChannels}; give its --size. (A sidecar describes a model of images.) ${firstFailure?.message}`,
  );
}

/** Not zeros: those can make a layer's output constant, and its gradients zero. */
function noiseImage(shape: readonly number[]): Tensor {
  let state = 1;
  const length = elementCount(shape);
  const values = Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
  return Tensor.from(values, shape);
}

/**
 * Of several outputs the one that is usually explained: what a detector finds, or by its name, else the first that is a
 * tensor.
 */
function selectorOf(output: ModelOutput): OutputSelector | undefined {
  if (output instanceof Tensor || typeof output !== 'object' || output === null) return undefined;
  const detections = pathToDetections(output);
  if (detections)
    return detections.length === 1 ? detections[0] : detections.length > 0 ? detections : undefined;
  const names = Object.keys(output);
  const key =
    ['logits', 'out'].find((name) => names.includes(name)) ??
    names.find((name) => (output as Record<string, ModelOutput>)[name] instanceof Tensor);
  if (key === undefined) return undefined;
  return Array.isArray(output) ? Number(key) : key;
}

/** As it is asked for, or as the outputs look: boxes, or something for each place of the image. */
function chooseTask(
  output: ModelOutput,
  { task }: DraftWishes,
): { readonly task: Task; readonly reason: string } {
  if (task) return { task, reason: 'as you say' };
  if (pathToDetections(output))
    return { task: 'detection', reason: 'the outputs are boxes, labels and scores' };
  const [, , height = 1, width = 1] =
    output instanceof Tensor && output.shape.length === 4 ? output.shape : [];
  if (height * width > 1)
    return {
      task: 'segmentation',
      reason: 'the output has places, as a map of categories; if it is none, take the line `task` out',
    };
  return { task: 'classification', reason: '' };
}

/** As it is asked for, or where the outputs for noise leave no doubt. */
function chooseScores(
  output: ModelOutput,
  { scores, labelCount }: DraftWishes,
): { readonly scores: Scores | undefined; readonly reason: string } {
  if (!(output instanceof Tensor) || output.shape.length !== 2)
    return { scores, reason: scores ? 'as you say' : '' };
  const values = Array.from(output.at(0).toTypedArray() as ArrayLike<number | bigint>, Number);
  const hint = { scores, labelCount };
  let read: ReturnType<typeof readScores>;
  try {
    read = readScores(values, hint, output.dtype);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
  if (scores) return { scores, reason: 'as you say' };
  if (read.scores === 'probabilities')
    return { scores: 'probabilities', reason: 'the outputs are from 0 to 1 and sum to 1' };
  if (read.scores === 'binary')
    return { scores: 'binary', reason: 'one output that is no probability, and two labels' };
  if (read.note) return { scores: undefined, reason: read.note };
  return {
    scores: undefined,
    reason:
      'softmax is assumed. For labels that are independent of each other (multi-label) add --scores sigmoid',
  };
}

interface ChosenLayers {
  readonly layers: readonly string[];
  readonly reshape: ReshapeTransform | undefined;
  readonly reason: string;
}

function chooseLayers(inspection: Inspection, { layers, reshape }: DraftWishes): ChosenLayers {
  const given = reshape === 'none' ? undefined : reshape;
  if (layers) {
    const known = new Set(inspection.layers.map(({ path }) => path));
    const unknown = layers.find((layer) => !known.has(parseLayer(layer).path));
    if (unknown !== undefined) throw new UsageError(`The model has no layer '${unknown}'.`);
    return { layers, reshape: given, reason: 'as you say' };
  }
  const { suggested, suggestionFailure } = inspection;
  if (!suggested) return { layers: [], reshape: given, reason: suggestionFailure ?? '' };
  const suggestedReshape = reshape === undefined ? (suggested.reshapeTransform ?? undefined) : given;
  return { layers: [suggested.path], reshape: suggestedReshape, reason: suggested.reason };
}

/** Whether the gradient reaches the layer, and its output becomes a map. */
async function tryExplaining(
  model: Model,
  noise: Tensor,
  { layer, reshapeTransform, output, task = 'classification' }: Sidecar,
  explained: ModelOutput,
  signal: AbortSignal,
): Promise<SidecarDraft['trial']> {
  if (layer === undefined) return { failure: 'there is no layer to explain' };
  const target = trialTarget(task, explained);
  if ('failure' in target) return target;
  try {
    const cam = new GradCAM({
      model,
      targetLayers: layer,
      ...(reshapeTransform === undefined ? {} : { reshapeTransform }),
      ...(output === undefined ? {} : { output }),
    });
    using explanation = await cam.explain(noise, { ...target, signal });
    return { shape: explanation.layers[0]?.shape ?? [] };
  } catch (error) {
    signal.throwIfAborted();
    return { failure: (error as Error).message };
  }
}

/** What of noise is explained: the predicted class, category 0 everywhere, or the surest box. */
function trialTarget(
  task: Task,
  output: ModelOutput,
): { readonly targets?: Target } | { readonly failure: string } {
  if (task === 'detection') {
    const [surest] = Array.isArray(output) ? detectedBoxes(output[0], { minScore: 0 }) : [];
    return surest
      ? { targets: FasterRCNNBoxScoreTarget.of([surest]) }
      : { failure: 'the model finds no box in noise' };
  }
  const shape = output instanceof Tensor ? output.shape : [];
  const [, , height = 0, width = 0] = shape;
  if (task === 'segmentation' && shape.length === 4) {
    const everywhere = Tensor.from(new Float32Array(height * width).fill(1), [height, width]);
    return { targets: new SemanticSegmentationTarget(0, everywhere) };
  }
  if (task === 'classification' && shape.length === 2) return {};
  return { failure: 'the output is not [images, classes]: a target of yours is needed' };
}
