import type { NativeTarget } from '../addon/addon.js';
import { argumentOutOfRange, invalidArgumentType } from '../errors/errors.js';
import { type TargetFunction, toFunctionTarget } from './function-target.js';

/**
 * What a heatmap explains: a scalar made of one image's output, and differentiable. Use one of its classes, such as
 * `ClassifierOutputTarget` or `SemanticSegmentationTarget`.
 */
export abstract class Target {
  /** @internal */
  abstract toNative(): NativeTarget;
}

/** A target, the index of a class as short for a `ClassifierOutputTarget`, or a function that makes the score. */
export type TargetLike = Target | number | TargetFunction;

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
  if (targets === undefined) return [[{ kind: 'rank', category: 0 }]];
  if (!Array.isArray(targets)) return [[toNative(targets, 'targets')]];
  if (targets.length === 0) throw argumentOutOfRange('targets', 'at least one target', 'an empty array');
  return targets.map((entry: unknown, index) => {
    const name = `targets[${index}]`;
    if (!Array.isArray(entry)) return [toNative(entry, name)];
    if (entry.length === 0) throw argumentOutOfRange(name, 'at least one target', 'an empty array');
    return entry.map((target, inner) => toNative(target, `${name}[${inner}]`));
  });
}

function toNative(value: unknown, name: string): NativeTarget {
  if (value instanceof Target) return value.toNative();
  if (typeof value === 'number') return { kind: 'class', category: checkIndex(name, value) };
  if (typeof value === 'function') return toFunctionTarget(value as TargetFunction);
  throw invalidArgumentType(name, 'a target, the index of a class or a function', value);
}

/** @internal */
export function checkIndex(name: string, value: number): number {
  if (typeof value !== 'number') throw invalidArgumentType(name, 'a number', value);
  if (!Number.isSafeInteger(value) || value < 0)
    throw argumentOutOfRange(name, 'an integer of at least 0', value);
  return value;
}
