import { type TargetFunction, Tensor } from 'node-gradcam';

// As library.FUNCTIONS in tools/fixtures/family/library.py.
const wanted = Tensor.from([1, -0.5, 0.25, 2, -1], [5]);
const matrix = [1, 0.5, -1, 2, 0.25, -0.75, 3, 1, -2, 0.1];
const matrixLike = ({ dtype }: Tensor) =>
  Tensor.from(dtype === 'float64' ? Float64Array.from(matrix) : Float32Array.from(matrix), [5, 2]);
export const functionTargets: Record<string, TargetFunction> = {
  'log-odds': (output) => output.exp().mean().log().sub(output.logSoftmax().select(0, 2)),
  'bounded-distance': (output) =>
    output
      .exp()
      .sum()
      .add(1)
      .div(output.mul(2).sub(wanted).clamp({ min: -1.5, max: 2 }).norm(3)),
  projection: (output) => output.reshape([1, -1]).softmax(1).matmul(matrixLike(output)).max(1).mean(),
};
