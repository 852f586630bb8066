import { Explanation } from '../cam/explanation.js';
import { softmax } from '../tensor/softmax.js';
import type { Tensor } from '../tensor/tensor.js';

interface ClipParts {
  readonly prompts: readonly string[];
  readonly textEmbeddings: readonly Float32Array[];
  readonly logitScale: number;
}

/**
 * The result of {@link ClipExplainer.explain}: the heatmaps by image, then by prompt, and how much each image resembles
 * each prompt. `outputs` are the image embeddings, `[B, E]`, as they come out of `encode_image`; `scores` are what was
 * differentiated: dot products, or cosines.
 */
export class ClipExplanation extends Explanation {
  readonly prompts: readonly string[];
  /** `[image][prompt]`: the cosine of the two embeddings, -1 to 1. */
  readonly similarities: readonly (readonly number[])[];
  /** `[image][prompt]`: the model's own answer to which of these prompts it is; each image's add up to 1. */
  readonly probabilities: readonly (readonly number[])[];

  /** @internal */
  constructor(explanation: Explanation, { prompts, textEmbeddings, logitScale }: ClipParts) {
    super(explanation);
    this.prompts = prompts;
    const images = rowsOf(explanation.outputs as Tensor);
    this.similarities = images.map((image) => textEmbeddings.map((text) => cosine(image, text)));
    this.probabilities = this.similarities.map((row) => softmax(row.map((value) => logitScale * value)));
  }
}

function rowsOf(embeddings: Tensor): ArrayLike<number>[] {
  const values = embeddings.toTypedArray() as Float32Array;
  const [rows = 0, length = 0] = embeddings.shape;
  return Array.from({ length: rows }, (_, row) => values.subarray(row * length, (row + 1) * length));
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let index = 0; index < a.length; index++) sum += (a[index] as number) * (b[index] as number);
  return sum;
}

function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return dot(a, b) / Math.max(Math.sqrt(dot(a, a) * dot(b, b)), 1e-12);
}
