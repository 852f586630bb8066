import type { NativeTarget } from '../addon/addon.js';
import { Tensor, type TensorLike } from '../tensor/tensor.js';
import { Target } from './target.js';

// Targets for models that give an embedding per image.

abstract class ComparedVector extends Target {
  readonly vector: Tensor;
  /** @internal */
  protected abstract readonly kind: NativeTarget['kind'];

  /**
   * @param vector - as many values as the model gives for one image
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE`
   */
  constructor(vector: TensorLike | Float32Array | readonly number[]) {
    super();
    const isPlain = vector instanceof Float32Array || Array.isArray(vector);
    this.vector = isPlain
      ? Tensor.from(vector as Float32Array, [(vector as Float32Array).length])
      : Tensor.fromLike(vector, 'vector');
  }

  /** @internal */
  override toNative(): NativeTarget {
    return { kind: this.kind, tensor: Tensor.reference(this.vector) };
  }
}

/** The dot product of an image's output with a vector: `output.backward(vector)` of PyTorch, as CLIP flows use it. */
export class VectorTarget extends ComparedVector {
  /** @internal */
  protected override readonly kind = 'vector';
}

/** The cosine similarity of an image's output to a vector: what makes the image like another. */
export class CosineSimilarityTarget extends ComparedVector {
  /** @internal */
  protected override readonly kind = 'cosine';
}

/** One minus the cosine similarity: what makes the image unlike a concept. */
export class DifferenceFromConceptTarget extends ComparedVector {
  /** @internal */
  protected override readonly kind = 'concept';
}
