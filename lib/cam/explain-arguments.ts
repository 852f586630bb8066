import type { NativeExplainRequest, NativeTarget } from '../addon/addon.js';
import { argumentOutOfRange, invalidArgumentType } from '../errors/errors.js';
import { checkSignal, readOptions } from '../errors/options.js';
import { type CheckedArguments, checkArguments, type ModelArguments } from '../model/arguments.js';
import { type ModelInput, toTensors } from '../model/model.js';
import { normalizeTargets, type Targets } from '../targets/target.js';
import type { Tensor } from '../tensor/tensor.js';

export interface ExplainOptions {
  /** Default: of each image the class that the model predicts. */
  readonly targets?: Targets;
  /**
   * The parameters of the model's method that are no tensors, by name: `{ sr: 16000 }`. They are the same for all images of
   * the call. Default: those of `LoadModelOptions.arguments`, then the model's own.
   */
  readonly arguments?: ModelArguments;
  /**
   * Resize the maps to the input's size, `'bilinear'` (the default, and what true means) or `'bicubic'`, or leave them
   * at the (largest) target layer's size (false).
   */
  readonly upsample?: boolean | 'bilinear' | 'bicubic';
  /**
   * Average the maps of the image as it is and mirrored, each at 0.9, 1 and 1.1 times its (normalised) values: smoother
   * maps for six times the cost, as pytorch-grad-cam's. Or an array of your own changes. Default false.
   */
  readonly augSmooth?: boolean | readonly Augmentation[];
  /**
   * Project the weighted activations on their first principal component instead of summing the channels: less noise,
   * one dominant object. Default false.
   */
  readonly eigenSmooth?: boolean;
  /** Called as methods that run the model many times go on, with the runs done and their total, in images. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Rejects with the signal's reason at once; the running work stops at its next stage. */
  readonly signal?: AbortSignal;
}

/** A changed copy of the input, whose map is changed back and averaged with the others. */
export interface Augmentation {
  /** Mirror along the last axis. Default false. */
  readonly flip?: boolean;
  /** Multiply the values. Default 1. */
  readonly multiply?: number;
}

const standardAugmentations = [false, true].flatMap((flip) =>
  [0.9, 1, 1.1].map((multiply) => ({ flip, multiply })),
);

/** @internal The arguments of an explain, checked. */
export interface ExplainArguments {
  readonly inputs: readonly Tensor[];
  readonly targets: NativeTarget[][];
  readonly modelArguments: CheckedArguments;
  readonly upsample: NativeExplainRequest['upsample'];
  readonly augmentations: NativeExplainRequest['augmentations'];
  readonly eigenSmooth: boolean;
  readonly onProgress: ((done: number, total: number) => void) | undefined;
  readonly signal: AbortSignal | undefined;
}

/** @internal */
export function checkExplainArguments(
  input: ModelInput,
  options: ExplainOptions | undefined,
): ExplainArguments {
  const given = readOptions<ExplainOptions>('explain options', options, [
    'targets',
    'arguments',
    'upsample',
    'augSmooth',
    'eigenSmooth',
    'onProgress',
    'signal',
  ]);
  const signal = checkSignal(given.signal);
  const upsample = checkUpsample(given.upsample ?? true);
  const targets = normalizeTargets(given.targets);
  const modelArguments = checkArguments(given.arguments);
  const eigenSmooth = given.eigenSmooth ?? false;
  if (typeof eigenSmooth !== 'boolean')
    throw invalidArgumentType('eigenSmooth', 'true or false', eigenSmooth);
  const { onProgress } = given;
  if (onProgress !== undefined && typeof onProgress !== 'function')
    throw invalidArgumentType('onProgress', 'a function', onProgress);
  const augmentations = checkAugmentations(given.augSmooth ?? false);
  const inputs = toTensors(input);
  return { inputs, targets, modelArguments, upsample, augmentations, eigenSmooth, onProgress, signal };
}

function checkUpsample(upsample: unknown): NativeExplainRequest['upsample'] {
  if (upsample === true) return 'bilinear';
  if (upsample === false) return 'none';
  if (upsample === 'bilinear' || upsample === 'bicubic') return upsample;
  throw invalidArgumentType('upsample', "true, false, 'bilinear' or 'bicubic'", upsample);
}

function checkAugmentations(augSmooth: unknown): NativeExplainRequest['augmentations'] {
  if (typeof augSmooth === 'boolean') return augSmooth ? standardAugmentations : [];
  if (!Array.isArray(augSmooth)) throw invalidArgumentType('augSmooth', 'true, false or an array', augSmooth);
  return augSmooth.map((each, index) => {
    const name = `augSmooth[${index}]`;
    const { flip = false, multiply = 1 } = readOptions<Augmentation>(name, each, ['flip', 'multiply']);
    if (typeof flip !== 'boolean') throw invalidArgumentType(`${name}.flip`, 'true or false', flip);
    if (typeof multiply !== 'number') throw invalidArgumentType(`${name}.multiply`, 'a number', multiply);
    if (!Number.isFinite(multiply)) throw argumentOutOfRange(`${name}.multiply`, 'a finite number', multiply);
    return { flip, multiply };
  });
}
