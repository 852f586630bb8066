import test from 'ava';
import { GradCamError, Tensor } from 'node-gradcam';

// Values by hand. That gradients flow through the operations, as PyTorch's do, is in test/cam/family.test.ts
// (target-function-*) and test/cam/function-targets.test.ts.

const vector = Tensor.from([1, -2, 3], [3]);
const matrix = Tensor.from([1, 2, 3, 4, 5, 6], [2, 3]);
const { E, SQRT2 } = Math;

const cases: Record<string, { result: () => Tensor; shape: number[]; values: number[] }> = {
  select: { result: () => matrix.select(1, 2), shape: [2], values: [3, 6] },
  'select from the end': { result: () => matrix.select(-2, -1), shape: [3], values: [4, 5, 6] },
  'add a tensor, broadcast': { result: () => matrix.add(vector), shape: [2, 3], values: [2, 0, 6, 5, 3, 9] },
  'add a number': { result: () => vector.add(0.5), shape: [3], values: [1.5, -1.5, 3.5] },
  'sub a tensor': { result: () => vector.sub(vector), shape: [3], values: [0, 0, 0] },
  'sub a number': { result: () => vector.sub(1), shape: [3], values: [0, -3, 2] },
  'mul a tensor': { result: () => vector.mul(vector), shape: [3], values: [1, 4, 9] },
  'mul a number': { result: () => vector.mul(-2), shape: [3], values: [-2, 4, -6] },
  'div by a tensor': { result: () => vector.div(vector), shape: [3], values: [1, 1, 1] },
  'div by a number': { result: () => vector.div(2), shape: [3], values: [0.5, -1, 1.5] },
  sum: { result: () => matrix.sum(), shape: [], values: [21] },
  'sum over one dimension': { result: () => matrix.sum(0), shape: [3], values: [5, 7, 9] },
  'sum over two, kept': {
    result: () => matrix.sum([0, 1], { keepDimensions: true }),
    shape: [1, 1],
    values: [21],
  },
  mean: { result: () => matrix.mean(), shape: [], values: [3.5] },
  'mean over the last dimension': { result: () => matrix.mean(-1), shape: [2], values: [2, 5] },
  max: { result: () => vector.max(), shape: [], values: [3] },
  'max along a dimension, kept': {
    result: () => matrix.max(1, { keepDimensions: true }),
    shape: [2, 1],
    values: [3, 6],
  },
  softmax: { result: () => Tensor.from([0, Math.log(3)], [2]).softmax(), shape: [2], values: [0.25, 0.75] },
  'softmax along the first dimension': {
    result: () => Tensor.from([1, 5, 1, 5], [2, 2]).softmax(0),
    shape: [2, 2],
    values: [0.5, 0.5, 0.5, 0.5],
  },
  logSoftmax: {
    result: () => Tensor.from([7, 7], [2]).logSoftmax(),
    shape: [2],
    values: [-Math.LN2, -Math.LN2],
  },
  'matmul of a matrix': { result: () => matrix.matmul(vector), shape: [2], values: [6, 12] },
  'matmul of vectors': { result: () => vector.matmul(vector), shape: [], values: [14] },
  reshape: { result: () => matrix.reshape([3, -1]), shape: [3, 2], values: [1, 2, 3, 4, 5, 6] },
  norm: { result: () => Tensor.from([3, -4], [2]).norm(), shape: [], values: [5] },
  'norm of order 1': { result: () => vector.norm(1), shape: [], values: [6] },
  'norm of order infinity': { result: () => vector.norm(Infinity), shape: [], values: [3] },
  'norm over a dimension': {
    result: () => Tensor.from([1, 1, 3, 4], [2, 2]).norm(2, 1),
    shape: [2],
    values: [SQRT2, 5],
  },
  'clamp from below': { result: () => vector.clamp({ min: 0 }), shape: [3], values: [1, 0, 3] },
  'clamp on both sides': { result: () => vector.clamp({ min: -1, max: 2 }), shape: [3], values: [1, -1, 2] },
  exp: { result: () => Tensor.from([0, 1], [2]).exp(), shape: [2], values: [1, E] },
  log: { result: () => Tensor.from([1, E], [2]).log(), shape: [2], values: [0, 1] },
};
for (const [name, { result, shape, values }] of Object.entries(cases)) {
  test(name, (t) => {
    const tensor = result();
    t.deepEqual([...tensor.shape], shape);
    const found = [...(tensor.toTypedArray() as Float32Array)];
    t.true(
      found.length === values.length &&
        found.every((value, index) => Math.abs(value - (values[index] ?? NaN)) < 1e-6),
      `${found}`,
    );
  });
}

test('float64 stays float64', (t) => {
  t.is(Tensor.from(new Float64Array([0.1]), [1]).mul(3).dtype, 'float64');
});

const failures: Record<string, { use: () => Tensor; code: string; message: RegExp }> = {
  'shapes that do not fit': {
    use: () => matrix.add(Tensor.from([1, 2], [2])),
    code: 'ERR_TENSOR_OPERATION',
    message: /add: The size of tensor a \(3\) must match/,
  },
  'an index beyond the end': {
    use: () => vector.select(0, 3),
    code: 'ERR_TENSOR_OPERATION',
    message: /select: .*index 3.*out of range/,
  },
  'a reshape to another size': {
    use: () => vector.reshape([2, 2]),
    code: 'ERR_TENSOR_OPERATION',
    message: /reshape: shape '\[2, 2\]' is invalid/,
  },
  'a mean of integers': {
    use: () => Tensor.from(new Int32Array([1]), [1]).mean(),
    code: 'ERR_TENSOR_OPERATION',
    message: /mean: /,
  },
  'sizes beyond the machine': {
    use: () => vector.reshape([2 ** 52, 2 ** 52]),
    code: 'ERR_TENSOR_OPERATION',
    message: /reshape: /,
  },
  'a dimension that is no integer': {
    use: () => vector.sum(0.5),
    code: 'ERR_OUT_OF_RANGE',
    message: /dimensions/,
  },
  'a dimension that is no number': {
    use: () => vector.sum('0' as never),
    code: 'ERR_INVALID_ARG_TYPE',
    message: /dimensions/,
  },
  'an operand that is neither tensor nor number': {
    use: () => vector.add('1' as never),
    code: 'ERR_INVALID_ARG_TYPE',
    message: /a Tensor or a number/,
  },
  'no bounds': { use: () => vector.clamp({}), code: 'ERR_INVALID_ARG_TYPE', message: /bounds/ },
  'an unknown option': {
    use: () => vector.sum(0, { keepDims: true } as never),
    code: 'ERR_UNKNOWN_OPTION',
    message: /keepDims/,
  },
  'not a number as order': { use: () => vector.norm(NaN), code: 'ERR_INVALID_ARG_TYPE', message: /order/ },
};
for (const [name, { use, code, message }] of Object.entries(failures)) {
  test(`refused: ${name}`, (t) => {
    t.throws(use, { code, message });
  });
}

test('a disposed operand is refused', (t) => {
  const gone = Tensor.from([1, 2, 3], [3]);
  gone.dispose();
  t.throws(() => vector.add(gone), { instanceOf: GradCamError, code: 'ERR_DISPOSED' });
  t.throws(() => gone.sum(), { code: 'ERR_DISPOSED' });
});
