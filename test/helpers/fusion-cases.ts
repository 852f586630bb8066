import { Tensor } from 'node-gradcam';
import { readJson } from './fixtures.js';
import { type StoredValues, tensorOf } from './stored-values.js';

/** A network of tools/fixtures/networks/fusions.py at one of its layers, by plain autograd in double precision. */
export interface FusionCase {
  readonly name: string;
  /** Of space: 1 for signals, 2 for images, 3 for volumes. */
  readonly axes: Axes;
  readonly layer: string;
  readonly category: number;
  readonly maps: StoredValues;
  readonly outputs: StoredValues;
  /** How far PyTorch's own float32 is off, and its own bfloat16 (torch.autocast). */
  readonly referenceError: { readonly maps: number; readonly outputs: number };
  readonly bfloat16Error: { readonly maps: number; readonly outputs: number };
}

type Axes = 1 | 2 | 3;
const stored = readJson<{
  cases: readonly FusionCase[];
  inputs: Readonly<Record<Axes, StoredValues>>;
}>('fusions/golden.json');

export const fusionCases: readonly FusionCase[] = stored.cases;

const batches = new Map(
  Object.entries(stored.inputs).map(([axes, input]) => [Number(axes), tensorOf(input)]),
);
const seconds = new Map(
  Object.entries(stored.inputs).map(([axes, { shape, values }]) => {
    const row = values.slice(values.length / 3, (2 * values.length) / 3);
    return [Number(axes), Tensor.from(Float32Array.from(row), [1, ...shape.slice(1)])];
  }),
);

/** The three inputs of a network with so many axes of space. */
export const fusionBatch = (axes: Axes): Tensor => batches.get(axes) as Tensor;
/** The second of them alone. */
export const fusionSecond = (axes: Axes): Tensor => seconds.get(axes) as Tensor;
