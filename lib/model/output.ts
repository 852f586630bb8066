import type { NativeOutput, NativeTensor } from '../addon/addon.js';
import { Tensor } from '../tensor/tensor.js';

/** A model's output as it came: a tensor, or tuples, lists (as arrays) and dictionaries (as objects) of them. */
export type ModelOutput =
  | Tensor
  | ModelOutput[]
  | { [key: string]: ModelOutput }
  | number
  | string
  | boolean
  | null;

/**
 * Which part of a model's output is explained: a dictionary key, a position in a tuple or list, or a path of these,
 * outermost first: `'out'`, `0`, `['aux', 1]`.
 */
export type OutputSelector = string | number | readonly (string | number)[];

function isNativeTensor(value: object): value is NativeTensor {
  return 'reference' in value && 'dtype' in value && 'shape' in value;
}

/** @internal */
export function wrapOutput(output: NativeOutput): ModelOutput {
  if (typeof output !== 'object' || output === null) return output;
  if (Array.isArray(output)) return output.map(wrapOutput);
  if (isNativeTensor(output)) return Tensor.fromNative(output);
  // No prototype: a model may name an output anything, "__proto__" too.
  const wrapped: { [key: string]: ModelOutput } = Object.create(null);
  for (const [key, value] of Object.entries(output)) wrapped[key] = wrapOutput(value);
  return wrapped;
}

/**
 * The same output in tensors of its own, which share memory with those of this one.
 * @internal
 */
export function shareOutput(output: ModelOutput): ModelOutput {
  if (typeof output !== 'object' || output === null) return output;
  if (output instanceof Tensor) return output.share();
  if (Array.isArray(output)) return output.map(shareOutput);
  const shared: { [key: string]: ModelOutput } = Object.create(null);
  for (const [key, value] of Object.entries(output)) shared[key] = shareOutput(value);
  return shared;
}

/**
 * The outputs for images that ran one by one, as those of one run: lists with an element for each image one behind the
 * other, tuples and dictionaries by element, tensors as an array of them.
 * @internal
 */
export function joinOutputs(outputs: readonly ModelOutput[]): ModelOutput {
  const [first] = outputs;
  if (first instanceof Tensor || typeof first !== 'object' || first === null) return [...outputs];
  if (Array.isArray(first)) {
    const lists = outputs as ModelOutput[][];
    if (lists.every(({ length }) => length === 1)) return lists.flat();
    return first.map((_, index) => joinOutputs(lists.map((list) => list[index] ?? null)));
  }
  const joined: { [key: string]: ModelOutput } = Object.create(null);
  for (const key of Object.keys(first))
    joined[key] = joinOutputs(outputs.map((each) => (each as { [key: string]: ModelOutput })[key] ?? null));
  return joined;
}

/**
 * Frees every tensor of an output.
 * @internal
 */
export function disposeOutput(output: ModelOutput): void {
  if (output instanceof Tensor) output.dispose();
  else if (typeof output === 'object' && output !== null) Object.values(output).forEach(disposeOutput);
}

/**
 * The part of an output that a selector leads to; null where there is none.
 * @internal
 */
export function selectOutput(output: ModelOutput, selector: OutputSelector | undefined): ModelOutput {
  const steps = selector === undefined ? [] : Array.isArray(selector) ? selector : [selector];
  return steps.reduce<ModelOutput>(
    (value, step) => (value as Record<string | number, ModelOutput> | null)?.[step as string] ?? null,
    output,
  );
}
