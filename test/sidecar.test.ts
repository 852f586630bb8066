import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { findClass, GradCamError, imageOptions, loadImage, loadSidecar, sidecarPath } from 'node-gradcam';

const demoModel = fileURLToPath(new URL('../../examples/models/efficientnet_lite0.pt', import.meta.url));

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
  const image = await loadImage(
    fileURLToPath(new URL('../../examples/photos/chelsea.png', import.meta.url)),
    options,
  );
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
