import { mkdtemp, readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { Tensor, tensorToJson, tensorToNpy, writeTensor } from 'node-gradcam';
import { golden } from '../helpers/drawing.js';
import { noise } from '../helpers/fixtures.js';

const kinds = { float32: Float32Array, float64: Float64Array, uint8: Uint8Array } as const;

for (const { dtype, shape, data, npy } of golden.npy) {
  test(`${dtype} ${JSON.stringify(shape)} is written as numpy writes it, to the byte`, (t) => {
    const elements = dtype === 'int64' ? BigInt64Array.from(data, BigInt) : kinds[dtype].from(data);
    const encoded = tensorToNpy(Tensor.from(elements, shape));
    t.is(encoded.toString('base64'), npy);
  });
}

test('a tensor without dimensions and an empty one have headers that numpy can read', (t) => {
  const header = (tensor: Tensor) => tensorToNpy(tensor).toString('latin1', 10, 128);
  t.regex(header(Tensor.from([1], [])), /^\{'descr': '<f4', 'fortran_order': False, 'shape': \(\), \} +\n$/);
  t.regex(header(Tensor.from([], [0, 3])), /'shape': \(0, 3\), \} +\n$/);
});

test('as JSON a tensor is its shape and rounded values, from which it can be made again', (t) => {
  const tensor = Tensor.from([0.123456789, -1234567.8, 1.5e-9, 0], [2, 2]);
  const json = tensorToJson(tensor);
  t.deepEqual(json, { shape: [2, 2], data: [0.12346, -1234600, 1.5e-9, 0] });
  t.deepEqual(tensorToJson(tensor, 2).data, [0.12, -1200000, 1.5e-9, 0]);
  t.deepEqual([...Tensor.from(json.data, json.shape).shape], [2, 2]);
  t.deepEqual(tensorToJson(Tensor.from(Uint8Array.of(0, 1), [2])), { shape: [2], data: [0, 1] });
  t.deepEqual(tensorToJson(Tensor.from(BigInt64Array.of(12_345_678n), [1])).data, [12_345_678]);
});

test('the extension chooses the file; it is complete, and folders are made', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gradcam-tensor-'));
  const tensor = Tensor.from(noise(6), [2, 3]);
  await writeTensor(tensor, join(folder, 'a', 'maps.npy'));
  await writeTensor(tensor, join(folder, 'a', 'maps.JSON'));
  t.deepEqual(await readFile(join(folder, 'a', 'maps.npy')), tensorToNpy(tensor));
  t.deepEqual(JSON.parse(await readFile(join(folder, 'a', 'maps.JSON'), 'utf8')), tensorToJson(tensor));
  t.is((await readdir(join(folder, 'a'))).length, 2);
});

const misuses: readonly [what: string, act: () => unknown, code: string][] = [
  ['another extension', () => writeTensor(Tensor.from([1], [1]), 'maps.csv'), 'ERR_INVALID_ARG_TYPE'],
  [
    'no path',
    () => writeTensor(Tensor.from([1], [1]), undefined as unknown as string),
    'ERR_INVALID_ARG_TYPE',
  ],
  ['no tensor', () => tensorToNpy([1] as unknown as Tensor), 'ERR_INVALID_ARG_TYPE'],
  ['NaN in JSON', () => tensorToJson(Tensor.from([Number.NaN], [1])), 'ERR_OUT_OF_RANGE'],
  ['no digits', () => tensorToJson(Tensor.from([1], [1]), 0), 'ERR_OUT_OF_RANGE'],
];
for (const [what, act, code] of misuses) {
  test(`misuse: ${what} is ${code}`, async (t) => {
    await t.throwsAsync(async () => act(), { code });
  });
}
