import { copyFile, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test from 'ava';
import {
  findClass,
  GradCAM,
  GradCamError,
  imageOptions,
  loadImage,
  loadModelWithSidecar,
  loadSidecar,
  sidecarPath,
} from 'node-gradcam';
import { z } from 'zod';
import { sidecarSchema } from '../../lib/sidecar/schema.js';
import { fixturePath, rootPath } from '../helpers/root.js';

const demoModel = rootPath('examples/models/efficientnet_lite0.pt');

async function sidecarWith(content: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'gradcam-sidecar-'));
  await writeFile(join(folder, 'model.json'), content);
  return join(folder, 'model.pt');
}

test('the sidecar lies beside the model', (t) => {
  t.is(sidecarPath('models/a.b/net.pt'), 'models/a.b/net.json');
  t.is(sidecarPath('models/a.b/net'), 'models/a.b/net.json');
  t.is(sidecarPath('net.v2.torchscript'), 'net.v2.json');
});

test('the demo model has a sidecar whose options loadImage takes', async (t) => {
  const sidecar = await loadSidecar(demoModel);
  if (!sidecar) return t.fail('no sidecar');
  t.is(sidecar.name, 'EfficientNet-Lite0');
  t.is(sidecar.labels?.length, 1000);
  const options = imageOptions(sidecar);
  t.deepEqual(options.size, { width: 224, height: 224 });
  t.is(options.resize, 256);
  t.is(options.interpolation, 'bicubic');
  const image = await loadImage(rootPath('examples/photos/chelsea.png'), options);
  t.deepEqual(image.tensor.shape, [1, 3, 224, 224]);
  return undefined;
});

test('a model without a sidecar has null', async (t) => {
  t.is(await loadSidecar('/nowhere/model.pt'), null);
});

test('what is not said stays open', async (t) => {
  const sidecar = await loadSidecar(await sidecarWith('{"input": {"width": 64, "height": 32}}'));
  t.deepEqual(sidecar, { input: { width: 64, height: 32 } });
  if (sidecar) t.deepEqual(imageOptions(sidecar), { size: { width: 64, height: 32 } });
});

test('everything a sidecar can say is read, and goes to loadImage', async (t) => {
  const input = {
    width: 64,
    height: 48,
    fit: 'contain',
    paddingColor: [114, 114, 114],
    interpolation: 'bicubic',
    antialias: false,
    channelOrder: 'bgr',
    valueRange: [0, 255],
    mean: [1, 2, 3],
    std: [4, 5, 6],
  };
  const rest = {
    name: 'name',
    layer: ['a', { path: 'b', call: 0 }],
    reshapeTransform: { kind: 'tokens', prefixTokens: 2, grid: [3, 4] },
    output: ['aux', 1],
    labels: ['cat', 'dog'],
  };
  const path = await sidecarWith(JSON.stringify({ $schema: './sidecar.schema.json', input, ...rest }));
  const sidecar = await loadSidecar(path);
  t.deepEqual(sidecar as unknown, { input, ...rest });
  if (!sidecar) return;
  const { width, height, ...others } = input;
  const options = imageOptions(sidecar);
  t.deepEqual(options as unknown, { size: { width, height }, ...others });
  const photo = rootPath('examples/photos/chelsea.png');
  t.deepEqual((await loadImage(photo, options)).tensor.shape, [1, 3, 48, 64]);
});

const size = '"input": {"width": 8, "height": 8}';
for (const [name, content] of [
  ['names.txt', 'cat\ndog, hound\r\nbird\n'],
  ['names.json', '["cat", "dog, hound", "bird"]'],
] as const) {
  test(`labels may be in a file of their own: ${name}`, async (t) => {
    const path = await sidecarWith(`{${size}, "labels": "${name}"}`);
    await writeFile(join(dirname(path), name), content);
    t.deepEqual((await loadSidecar(path))?.labels, ['cat', 'dog, hound', 'bird']);
  });
}

test('a file of labels that is missing, empty or something else is told', async (t) => {
  const path = await sidecarWith(`{${size}, "labels": "names.txt"}`);
  const file = join(dirname(path), 'names.txt');
  const refused = async (message: RegExp) => {
    const error = await t.throwsAsync(loadSidecar(path), { instanceOf: GradCamError, message });
    t.is(error?.code, 'ERR_SIDECAR');
    t.true(error?.message.includes(file));
  };
  await refused(/cannot read/);
  for (const content of ['', ' \n', '["a", 1]', '["a"']) {
    await writeFile(file, content);
    await refused(/neither one label a line nor a JSON array/);
  }
});

test('a model with its sidecar prepares pictures, names layers and finds classes', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gradcam-described-'));
  for (const name of ['hf-swin.pt', 'hf-swin.json'])
    await copyFile(fixturePath(`transformers/${name}`), join(folder, name));
  const described = await loadModelWithSidecar(join(folder, 'hf-swin.pt'));
  const photo = rootPath('examples/photos/chelsea.png');
  const image = await described.loadImage(photo);
  t.deepEqual(image.tensor.shape, [1, 3, 64, 64]);
  t.is(image.geometry.resizedWidth, 64, 'stretched, as its processor does');
  t.is((await described.loadImage(photo, { fit: 'crop', resize: 80 })).geometry.resizedHeight, 80);
  const cam = new GradCAM(described.camOptions);
  const { layers, maps } = await cam.explain(image.tensor, { targets: described.findClass('tiger') });
  t.is(layers[0]?.path, 'model.swin.encoder.layers.1.blocks.1.layernorm_before');
  t.is(described.labels?.[maps[0]?.classIndex ?? -1], 'tiger cat');
  await described.dispose();
  t.true(described.model.disposed);
});

test('a model without a sidecar cannot be loaded with one', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gradcam-described-'));
  const path = join(folder, 'model.pt');
  await copyFile(fixturePath('scripted.pt'), path);
  const error = await t.throwsAsync(loadModelWithSidecar(path), {
    instanceOf: GradCamError,
    message: /no sidecar .*gradcam init-sidecar/,
  });
  t.is(error?.code, 'ERR_SIDECAR');
  t.is(error?.details.path, join(folder, 'model.json'));
  await t.throwsAsync(loadModelWithSidecar(7 as unknown as string), { code: 'ERR_INVALID_ARG_TYPE' });
  await writeFile(join(folder, 'model.json'), `{${size}}`);
  await t.throwsAsync(loadModelWithSidecar(path, { devise: 'cpu' } as object), {
    code: 'ERR_UNKNOWN_OPTION',
  });
});

test('docs/sidecar.schema.json is that of the code', async (t) => {
  const file = rootPath('docs/sidecar.schema.json');
  const published = JSON.parse(await readFile(file, 'utf8'));
  // Made by `node tools/generate/sidecar_schema.mjs`.
  t.deepEqual(published, JSON.parse(JSON.stringify(z.toJSONSchema(sidecarSchema, { io: 'input' }))));
});

const wrong: readonly [content: string, message: RegExp][] = [
  ['{', /not JSON/],
  ['[]', /the file/],
  ['{}', /input/],
  ['{"input": {"width": 224}}', /input\.height/],
  ['{"input": {"width": 224, "height": 0}}', /input\.height/],
  ['{"input": {"width": 224, "height": 224, "std": [1, 0, 1]}}', /input\.std\.1/],
  ['{"input": {"width": 224, "height": 224, "mean": [0.5]}}', /input\.mean.*3/],
  ['{"input": {"width": 8, "height": 8, "channels": 1, "std": [1, 1, 1]}}', /input\.std.*1/],
  ['{"input": {"width": 224, "height": 224, "interpolation": "best"}}', /input\.interpolation/],
  ['{"input": {"width": 224, "height": 224}, "label": []}', /label/],
  ['{"input": {"width": 224, "height": 224}, "labels": ["a", 1]}', /labels\.1/],
  ['{"input": {"width": 224, "height": 224}, "dtype": "int8"}', /dtype/],
  ['{"input": {"width": 8, "height": 8, "fit": "cover"}}', /input\.fit/],
  ['{"input": {"width": 8, "height": 8, "fit": "contain", "resize": 9}}', /input\.resize.*contain/],
  ['{"input": {"width": 8, "height": 8, "paddingColor": [0, 0, 0]}}', /input\.paddingColor.*crop/],
  ['{"input": {"width": 8, "height": 8, "fit": "contain", "paddingColor": [0, 0]}}', /input\.paddingColor/],
  ['{"input": {"width": 8, "height": 8, "channels": 1, "channelOrder": "bgr"}}', /input\.channelOrder/],
  ['{"input": {"width": 8, "height": 8, "valueRange": [0, 1, 2]}}', /input\.valueRange/],
  [
    '{"input": {"width": 8, "height": 8, "interpolation": "lanczos", "antialias": false}}',
    /input\.antialias/,
  ],
  ['{"input": {"width": 8, "height": 8}, "layer": []}', /layer/],
  ['{"input": {"width": 8, "height": 8}, "layer": [{"path": "a", "call": -1}]}', /layer\.0\.call/],
  ['{"input": {"width": 8, "height": 8}, "reshapeTransform": "nchw"}', /reshapeTransform/],
  ['{"input": {"width": 8, "height": 8}, "reshapeTransform": {"kind": "tokens", "grid": [0]}}', /grid\.0/],
];
for (const [content, message] of wrong) {
  test(`${content} is refused with the place of the mistake`, async (t) => {
    const path = await sidecarWith(content);
    const error = await t.throwsAsync(loadSidecar(path), { instanceOf: GradCamError, message });
    t.is(error?.code, 'ERR_SIDECAR');
    t.true(error?.message.includes(sidecarPath(path)));
    t.is(error?.details.path, sidecarPath(path));
  });
}

const labels = [
  'tench, Tinca tinca',
  'tabby, tabby cat',
  'tiger cat',
  'tiger',
  'crane',
  'crane',
  'Tiger shark',
];
const found: readonly [query: string, index: number][] = [
  ['3', 3],
  ['tiger', 3],
  ['TIGER CAT', 2],
  [' tinca tinca ', 0],
  ['tabby, tabby cat', 1],
  ['tabby cat', 1],
  ['tab', 1],
  ['tiger s', 6],
  ['ten', 0],
];
for (const [query, index] of found) {
  test(`the class '${query}' is ${index}`, (t) => {
    t.is(findClass(labels, query), index);
  });
}

test('a label that is unknown, or could be several, names candidates', (t) => {
  const refused = (query: string, message: RegExp) => {
    const error = t.throws(() => findClass(labels, query), { instanceOf: GradCamError, message });
    t.is(error?.code, 'ERR_UNKNOWN_LABEL');
    return error?.details.suggestions ?? [];
  };
  t.deepEqual(refused('crane', /could mean crane \(4\), crane \(5\)/), ['crane (4)', 'crane (5)']);
  t.is(refused('t', /could mean/).length, 5);
  t.is(refused('tigre', /nearest.*tiger/)[0], 'tiger');
  refused('', /not a label/);
});

test('without labels only an index is a class', (t) => {
  t.is(findClass(undefined, '281'), 281);
  const error = t.throws(() => findClass(undefined, 'tabby'), { instanceOf: GradCamError });
  t.is(error?.code, 'ERR_UNKNOWN_LABEL');
});
