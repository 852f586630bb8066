import { Tensor } from 'node-gradcam';

/** A tensor as scripts in tools/ write it into JSON. */
export interface StoredValues {
  readonly shape: readonly number[];
  readonly values: readonly number[];
}

export const tensorOf = ({ shape, values }: StoredValues): Tensor =>
  Tensor.from(Float32Array.from(values), shape);
