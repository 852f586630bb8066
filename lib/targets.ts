import { argumentOutOfRange, invalidArgumentType } from './errors.js';
import type { NativeTarget } from './native.js';

/**
 * What a heatmap explains: a scalar made of one image's output. Use one of the classes:
 * {@link ClassifierOutputTarget}, {@link TopClassTarget}.
 */
export abstract class Target {
  /** @internal */
  abstract toNative(): NativeTarget;
}

/**
 * The output of one class: `output[category]`, before any softmax. As pytorch-grad-cam's class of this name.
 * Needs a model output of shape `[images, classes]`.
 */
export class ClassifierOutputTarget extends Target {
  /** Index of the class, 0 or more. */
  readonly category: number;

  /** @throws {RangeError} `ERR_OUT_OF_RANGE` */
  constructor(category: number) {
    super();
    this.category = checkIndex('category', category);
  }

  /** @internal */
  override toNative(): NativeTarget {
    return { kind: 'class', classIndex: this.category };
  }
}

/**
 * The output of the class that ranks `rank`-th in the image's own output; 0, the default, is the class that the model
 * predicts. `[[new TopClassTarget(0), new TopClassTarget(1)]]` explains the two most likely classes from one forward.
 */
export class TopClassTarget extends Target {
  /** 0 for the highest output. */
  readonly rank: number;

  /** @throws {RangeError} `ERR_OUT_OF_RANGE` */
  constructor(rank = 0) {
    super();
    this.rank = checkIndex('rank', rank);
  }

  /** @internal */
  override toNative(): NativeTarget {
    return { kind: 'rank', rank: this.rank };
  }
}

/** A target, or the index of a class as short for a {@link ClassifierOutputTarget}. */
export type TargetLike = Target | number;

/**
 * What to explain:
 * - nothing: of each image the class that the model predicts;
 * - one target (or an array of one): that target, of every image;
 * - an array of one per image;
 * - an array of arrays: several per image, all from one forward. One inner array is for every image.
 */
export type Targets = TargetLike | readonly TargetLike[] | readonly (readonly TargetLike[])[];

/**
 * One list per image, or one list for all.
 * @internal
 */
export function normalizeTargets(targets: Targets | undefined): NativeTarget[][] {
  if (targets === undefined) return [[new TopClassTarget().toNative()]];
  if (!Array.isArray(targets)) return [[toTarget(targets, 'targets').toNative()]];
  if (targets.length === 0) throw argumentOutOfRange('targets', 'at least one target', 'an empty array');
  return targets.map((entry: unknown, index) => {
    const name = `targets[${index}]`;
    if (!Array.isArray(entry)) return [toTarget(entry, name).toNative()];
    if (entry.length === 0) throw argumentOutOfRange(name, 'at least one target', 'an empty array');
    return entry.map((target, inner) => toTarget(target, `${name}[${inner}]`).toNative());
  });
}

function toTarget(value: unknown, name: string): Target {
  if (value instanceof Target) return value;
  if (typeof value === 'number') return new ClassifierOutputTarget(checkIndex(name, value));
  throw invalidArgumentType(name, 'a target or the index of a class', value);
}

function checkIndex(name: string, value: number): number {
  if (typeof value !== 'number') throw invalidArgumentType(name, 'a number', value);
  if (!Number.isSafeInteger(value) || value < 0)
    throw argumentOutOfRange(name, 'an integer of at least 0', value);
  return value;
}
