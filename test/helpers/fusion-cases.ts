import type { Tensor } from 'node-gradcam';
import { readJson } from './fixtures.js';
import { type StoredValues, tensorOf } from './stored-values.js';

/** A network of tools/fixtures/networks/fusions.py at one of its layers, by plain autograd in double precision. */
export interface FusionCase {
  readonly name: string;
  readonly layer: string;
  readonly category: number;
  readonly maps: StoredValues;
  readonly outputs: StoredValues;
  /** How far PyTorch's own float32 is off, and its own bfloat16 (torch.autocast). */
  readonly referenceError: { readonly maps: number; readonly outputs: number };
  readonly bfloat16Error: { readonly maps: number; readonly outputs: number };
}

const stored = readJson<{ cases: readonly FusionCase[]; input: StoredValues }>('fusions/golden.json');

export const fusionCases: readonly FusionCase[] = stored.cases;
export const fusionInput: StoredValues = stored.input;
export const fusionImages: Tensor = tensorOf(stored.input);
