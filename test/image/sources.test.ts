import { copyFile, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import test from 'ava';
import {
  GradCAM,
  loadImage,
  loadModel,
  loadModelWithSidecar,
  loadSidecar,
  sidecarPath,
  Tensor,
  TorchScriptTarget,
  writeTensor,
} from 'node-gradcam';
import { noise, sameBits } from '../helpers/fixtures.js';
import { fixturePath, rootPath } from '../helpers/root.js';

// Where a file is named, and what bytes may come in: of pictures, models, sidecars, targets, tensors and what is written.

const photo = rootPath('examples/photos/chelsea.png');
const values = (tensor: Tensor) => tensor.toTypedArray();
const folderOf = () => mkdtemp(join(tmpdir(), 'gradcam a folder-'));

test('messages tell a relative path as it was given', async (t) => {
  const folder = await folderOf();
  await writeFile(join(folder, 'a..b.jpg'), 'no picture');
  for (const path of ['../cat.jpg', '../../no/cat..jpg', relative('.', join(folder, 'a..b.jpg'))]) {
    const error = await t.throwsAsync(loadImage(path), { code: 'ERR_IMAGE_LOAD' });
    t.true(error?.message.startsWith(`Cannot read '${path}': `), error?.message);
    t.regex(error?.message ?? '', /[^.]\.$/);
  }
});

test('a picture of a file: URL, and of a buffer or any view of one', async (t) => {
  const expected = await loadImage(photo);
  const named = await loadImage(pathToFileURL(photo));
  t.is(named.path, photo);
  t.true(sameBits(values(named.tensor), values(expected.tensor)));
  const bytes = await readFile(photo);
  const alone = new Uint8Array(bytes).buffer;
  const shared = new SharedArrayBuffer(bytes.length);
  new Uint8Array(shared).set(bytes);
  const behind = new Uint8Array(bytes.length + 3);
  behind.set(bytes, 3);
  const even = new ArrayBuffer(bytes.length + (bytes.length % 2));
  new Uint8Array(even).set(bytes);
  const sources = {
    alone,
    shared,
    sharedView: new Uint8Array(shared),
    view: new DataView(behind.buffer, 3),
    words: new Uint16Array(even),
    clamped: new Uint8ClampedArray(alone),
  };
  for (const [name, source] of Object.entries(sources)) {
    const image = await loadImage(source);
    t.true(sameBits(values(image.tensor), values(expected.tensor)), name);
    t.is(image.path, null);
    t.is((await image.original()).width, 451, name);
  }
});

test('what is neither a file nor bytes is refused', async (t) => {
  for (const source of [
    new URL('https://example.com/cat.jpg'),
    new URL('file://other/cat.jpg'),
    3,
    [1, 2],
    {},
  ])
    await t.throwsAsync(loadImage(source as string), { code: 'ERR_INVALID_ARG_TYPE' });
  const given = new ArrayBuffer(8);
  structuredClone(given, { transfer: [given] });
  for (const source of [given, new ArrayBuffer(0), new SharedArrayBuffer(0)])
    await t.throwsAsync(loadImage(source), { code: 'ERR_IMAGE_LOAD' });
  for (const load of [loadModel, loadSidecar, loadModelWithSidecar, TorchScriptTarget.load])
    await t.throwsAsync(load(new URL('https://example.com/model.pt')), {
      code: 'ERR_INVALID_ARG_TYPE',
      message: /a file: URL of this machine/,
    });
});

test('models, sidecars and targets of file: URLs; maps and pictures that are written to them', async (t) => {
  const folder = await folderOf();
  const url = (name: string) => pathToFileURL(join(folder, name));
  for (const name of ['hf-swin.pt', 'hf-swin.json'])
    await copyFile(fixturePath(`transformers/${name}`), join(folder, name));
  t.is(sidecarPath(url('hf-swin.pt')), join(folder, 'hf-swin.json'));
  t.is((await loadSidecar(url('hf-swin.pt')))?.input.width, 64);
  await using described = await loadModelWithSidecar(url('hf-swin.pt'));
  t.is(described.model.path, join(folder, 'hf-swin.pt'));
  const image = await described.loadImage(pathToFileURL(photo));
  await using model = await loadModel(pathToFileURL(fixturePath('scripted.pt')));
  const { heatmaps } = await new GradCAM({ model }).explain(Tensor.from(noise(1728), [1, 3, 24, 24]));
  await writeTensor(heatmaps, url('maps.npy'));
  t.is((await readFile(join(folder, 'maps.npy'))).subarray(1, 6).toString(), 'NUMPY');
  t.deepEqual(image.tensor.shape, [1, 3, 64, 64]);
});

test('a fit of one’s own goes before the sidecar’s resize and padding', async (t) => {
  const folder = await folderOf();
  await copyFile(fixturePath('scripted.pt'), join(folder, 'model.pt'));
  const sidecar = (input: object) =>
    writeFile(join(folder, 'model.json'), JSON.stringify({ input: { width: 24, height: 24, ...input } }));
  await sidecar({ resize: 30 });
  await using cropped = await loadModelWithSidecar(join(folder, 'model.pt'));
  t.is((await cropped.loadImage(photo)).geometry.resizedHeight, 30);
  const contained = await cropped.loadImage(photo, { fit: 'contain' });
  t.is(contained.geometry.resizedWidth, 24);
  await sidecar({ fit: 'contain', paddingColor: [1, 2, 3] });
  await using padded = await loadModelWithSidecar(join(folder, 'model.pt'));
  t.is((await padded.loadImage(photo, { fit: 'crop' })).geometry.resizedHeight, 27);
});

test('tensors of bytes', (t) => {
  const floats = Float32Array.from([1.5, -2, 0.25, 8]);
  const odd = new Uint8Array(17);
  odd.set(new Uint8Array(floats.buffer), 1);
  const shared = new SharedArrayBuffer(16);
  new Float32Array(shared).set(floats);
  for (const data of [floats.buffer, shared, new DataView(odd.buffer, 1)]) {
    const tensor = Tensor.from(data, [2, 2]);
    t.is(tensor.dtype, 'float32');
    t.deepEqual(values(tensor), floats);
  }
  const wide = Tensor.from(BigInt64Array.from([3n, -4n]).buffer, [2], 'int64');
  t.deepEqual(values(wide), BigInt64Array.from([3n, -4n]));
  t.deepEqual(values(Tensor.from(new Uint8Array([1, 255]).buffer, [2], 'uint8')), new Uint8Array([1, 255]));
  t.throws(() => Tensor.from(new ArrayBuffer(7), [1]), {
    code: 'ERR_OUT_OF_RANGE',
    message: /whole float32/,
  });
  t.throws(() => Tensor.from(floats.buffer, [2]), { code: 'ERR_OUT_OF_RANGE', message: /shape/ });
  t.throws(() => Tensor.from(floats.buffer, [4], 'float16' as 'float32'), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(() => Tensor.from(floats, [4], 'float32'), { code: 'ERR_INVALID_ARG_TYPE', message: /dtype/ });
});
