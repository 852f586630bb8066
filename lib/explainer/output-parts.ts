import { createHash } from 'node:crypto';
import { type ModelOutput, shareOutput } from '../model/output.js';
import { Tensor } from '../tensor/tensor.js';
import { bytesOf } from '../tensor/typed-array-bytes.js';

/** What a call gave that ran alone, as far as the outputs of a batch are compared with it. */
type Kept =
  | { readonly shape: readonly number[]; readonly digest: string }
  | { readonly isList: boolean; readonly parts: ReadonlyMap<string, Kept> }
  | { readonly value: unknown };

/** @internal */
export interface OutputsAlone {
  readonly images: number;
  readonly kept: Kept;
}

/**
 * How an output is divided among the calls of a batch: `'rows'` of a tensor or a list belong to the images, `'whole'` is every
 * call's.
 */
type Division = 'rows' | 'whole' | ReadonlyMap<string, Division>;

/** @internal */
export function keepOutputs(output: ModelOutput, images: number): OutputsAlone {
  return { images, kept: keep(output) };
}

function keep(output: ModelOutput): Kept {
  if (output instanceof Tensor) return { shape: output.shape, digest: digestOf(output) };
  if (typeof output !== 'object' || output === null) return { value: output };
  const parts = new Map(Object.entries(output).map(([key, value]) => [key, keep(value)]));
  return { isList: Array.isArray(output), parts };
}

function digestOf(tensor: Tensor): string {
  return createHash('sha1').update(bytesOf(tensor.toTypedArray())).digest('base64');
}

/**
 * The outputs of a batch for each of its calls, each to be disposed of on its own; null where it cannot be told what belongs
 * to whom. A first dimension that is as long as the batch may be so by chance, so that what one call gives alone decides: what
 * grows with the images is theirs, and what does not must be the same.
 * @param counts - how many images each call has
 * @internal
 */
export function outputParts(
  output: ModelOutput,
  counts: readonly number[],
  alone: OutputsAlone | undefined,
): ModelOutput[] | null {
  const batch = counts.reduce((sum, count) => sum + count, 0);
  const division = alone ? divide(output, alone.kept, alone.images, batch) : divideTensor(output, batch);
  if (division === null) return null;
  let start = 0;
  return counts.map((count) => {
    const part = partOf(output, division, start, count);
    start += count;
    return part;
  });
}

/** An output that is one tensor is what is explained, image by image. */
function divideTensor(output: ModelOutput, batch: number): Division | null {
  return output instanceof Tensor && output.shape[0] === batch ? 'rows' : null;
}

function divide(output: ModelOutput, alone: Kept, images: number, batch: number): Division | null {
  if (images === batch) return null; // Nothing grows.
  const areRows = (length: number | undefined, ofAlone: number | undefined) =>
    length === batch && ofAlone === images;
  if (output instanceof Tensor) {
    if (!('shape' in alone) || output.shape.length !== alone.shape.length) return null;
    const { shape } = alone;
    const differ = output.shape.flatMap((length, axis) => (length === shape[axis] ? [] : [axis]));
    if (differ.length === 0) return digestOf(output) === alone.digest ? 'whole' : null;
    return differ.length === 1 && differ[0] === 0 && areRows(output.shape[0], shape[0]) ? 'rows' : null;
  }
  if (typeof output !== 'object' || output === null)
    return 'value' in alone && Object.is(output, alone.value) ? 'whole' : null;
  const entries = Object.entries(output);
  if (!('parts' in alone) || alone.isList !== Array.isArray(output)) return null;
  if (entries.length !== alone.parts.size)
    return alone.isList && areRows(entries.length, alone.parts.size) ? 'rows' : null;
  const divisions = new Map<string, Division>();
  for (const [key, value] of entries) {
    const ofAlone = alone.parts.get(key);
    const division = ofAlone ? divide(value, ofAlone, images, batch) : null;
    if (division === null) return null;
    divisions.set(key, division);
  }
  return divisions;
}

function partOf(output: ModelOutput, division: Division, start: number, length: number): ModelOutput {
  if (typeof output !== 'object' || output === null || division === 'whole') return shareOutput(output);
  if (output instanceof Tensor) return output.narrow(start, length);
  if (Array.isArray(output) && division === 'rows')
    return output.slice(start, start + length).map(shareOutput);
  const within = (key: string) => (division as ReadonlyMap<string, Division>).get(key) ?? 'whole';
  if (Array.isArray(output))
    return output.map((each, index) => partOf(each, within(String(index)), start, length));
  const part: { [key: string]: ModelOutput } = Object.create(null);
  for (const [key, value] of Object.entries(output)) part[key] = partOf(value, within(key), start, length);
  return part;
}
