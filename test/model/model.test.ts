import test from 'ava';
import { GradCAM, loadModel, Tensor, TopClassTarget } from 'node-gradcam';
import { liteModel, noise, readJson, sameBits } from '../helpers/fixtures.js';
import { asCloseAs, yardstick } from '../helpers/float64-result.js';
import { fixturePath } from '../helpers/root.js';

const input = (count = 1) => Tensor.from(noise(count * 3 * 224 * 224), [count, 3, 224, 224]);

test('layers() lists the tree with types, parents first', async (t) => {
  await using model = await loadModel(liteModel);
  const layers = model.layers();
  t.true(layers.length > 100);
  const paths = layers.map((layer) => layer.path);
  t.is(new Set(paths).size, paths.length);
  for (const { path, depth } of layers) {
    t.is(depth, path.split('.').length - 1);
    const parent = path.slice(0, Math.max(0, path.lastIndexOf('.')));
    if (parent) t.true(paths.indexOf(parent) < paths.indexOf(path), path);
  }
  t.true(layers.some(({ type }) => type === 'Conv2d'));
});

test('half-precision weights become float32 on the CPU, and can be kept', async (t) => {
  await using model = await loadModel(liteModel);
  t.is(model.dtype, 'float32');
  await using kept = await loadModel(liteModel, { dtype: 'float16' });
  t.is(kept.dtype, 'float16');
  t.is(kept.parameterCount, model.parameterCount);
  t.true(kept.byteLength < model.byteLength * 0.6);
});

test('inspect() reports shapes, calls and the suggested layer', async (t) => {
  await using model = await loadModel(liteModel);
  const { layers, suggested, suggestionFailure } = await model.inspect(input());
  t.is(suggestionFailure, null);
  const layer = layers.find(({ path }) => path === suggested?.path);
  t.is(layer?.calls, 1);
  const [shape] = layer?.outputShapes ?? [];
  t.deepEqual(shape, [1, 1280, 7, 7]);
  t.regex(suggested?.reason ?? '', /spatial map/);
  const { layers: used } = await new GradCAM({ model }).explain(input());
  t.is(used[0]?.path, suggested?.path ?? '');
  t.is(used[0]?.reason, suggested?.reason ?? '');
});

test('a value that is not finite is found wherever it is, and large ones are none', async (t) => {
  await using model = await loadModel(fixturePath('scripted.pt'));
  const of = (value: number, places: readonly number[], sign = 1) => {
    const values = noise(1728);
    for (const [index, place] of places.entries()) values[place] = index % 2 === 0 ? value : sign * value;
    return Tensor.from(values, [1, 3, 24, 24]);
  };
  const refused = { code: 'ERR_INPUT_NOT_FINITE' };
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    for (const place of [0, 777, 1727]) await t.throwsAsync(model.forward(of(value, [place])), refused);
    await t.throwsAsync(model.forward(of(value, [5, 1000], -1)), refused);
  }
  await t.notThrowsAsync(model.forward(of(3e38, [0, 1, 2, 900])), 'though their sum is infinite');
});

test('the outputs of an explain are those of forward', async (t) => {
  await using model = await loadModel(liteModel);
  const { outputs, maps } = await new GradCAM({ model }).explain(input(2));
  const values = (outputs as Tensor).toTypedArray() as Float32Array;
  // BatchNorm folded into convolutions rounds differently than the model as it is.
  const forward = await yardstick(
    liteModel,
    async (plainly) => (await plainly.model.forward(input(2))) as Tensor,
  );
  asCloseAs(t, 'outputs', values, forward);
  const expected = ((await model.forward(input(2))) as Tensor).toTypedArray() as Float32Array;
  for (const { imageIndex, classIndex, score } of maps) {
    const row = expected.subarray(imageIndex * 1000, (imageIndex + 1) * 1000);
    t.is(classIndex, row.indexOf(Math.max(...row)));
    t.is(score, values[imageIndex * 1000 + (classIndex ?? 0)] as number);
  }
});

test('several classes of each image come from one forward, in order', async (t) => {
  await using model = await loadModel(liteModel);
  const cam = new GradCAM({ model });
  const together = await cam.explain(input(2), {
    targets: [
      [3, 5, 9],
      [new TopClassTarget(0), new TopClassTarget(1)],
    ],
  });
  t.deepEqual([...together.heatmaps.shape], [5, 224, 224]);
  t.deepEqual(
    together.maps.map(({ imageIndex, targetIndex }) => [imageIndex, targetIndex]),
    [
      [0, 0],
      [0, 1],
      [0, 2],
      [1, 0],
      [1, 1],
    ],
  );
  t.deepEqual(
    together.maps.slice(0, 3).map(({ classIndex }) => classIndex),
    [3, 5, 9],
  );
  t.true((together.maps[3]?.score ?? 0) >= (together.maps[4]?.score ?? 0));
  const targets = [0, 1].map((image) =>
    together.maps.flatMap(({ imageIndex, classIndex }) => (imageIndex === image ? (classIndex ?? -1) : [])),
  );
  const plainly = await yardstick(
    liteModel,
    async (how) => (await new GradCAM(how).explain(input(2), { targets })).heatmaps,
  );
  asCloseAs(t, 'together', together.heatmaps, plainly);
  const alone = [];
  for (const { imageIndex, classIndex } of together.maps) {
    const { heatmaps } = await cam.explain(input(2), { targets: classIndex ?? -1 });
    alone.push(...(heatmaps.at(imageIndex).toTypedArray() as Float32Array));
  }
  asCloseAs(t, 'alone', alone, plainly);
});

test('a layer inside a branch or a loop is hooked; its last call counts unless told otherwise', async (t) => {
  await using model = await loadModel(fixturePath('control_flow.pt'));
  const { shape } = readJson<{ cases: { model: string; input: { shape: number[] } }[] }>(
    'golden.json',
  ).cases.find((golden) => golden.model === 'control_flow.pt')?.input ?? { shape: [] };
  t.true(shape.length > 0);
  const tensor = Tensor.from(noise(shape.reduce((a, b) => a * b, 1)).map(Math.abs), shape);
  const { layers } = await model.inspect(tensor);
  const looped = layers.find(({ calls }) => calls === 3);
  t.truthy(looped, 'a layer that the loop calls three times');
  const path = looped?.path ?? '';
  const last = await new GradCAM({ model, targetLayers: path }).explain(tensor, { targets: 0 });
  t.deepEqual(
    last.layers.map(({ call }) => call),
    [2],
  );
  const all = await new GradCAM({ model, targetLayers: { path, call: 'all' } }).explain(tensor, {
    targets: 0,
  });
  t.deepEqual(
    all.layers.map(({ call }) => call),
    [0, 1, 2],
  );
  const third = await new GradCAM({ model, targetLayers: { path, call: 2 } }).explain(tensor, { targets: 0 });
  t.true(sameBits(third.heatmaps.toTypedArray(), last.heatmaps.toTypedArray()));
});

test('a suggested layer is remembered for the 16 shapes of input used last', async (t) => {
  await using model = await loadModel(fixturePath('scripted.pt'));
  const forwardsFor = async (size: number) => {
    const before = model.stats().jobs.done;
    await model.suggestLayer(Tensor.from(noise(3 * size * 32), [1, 3, size, 32]));
    return model.stats().jobs.done - before;
  };
  for (let size = 20; size < 36; size++) t.is(await forwardsFor(size), 1);
  t.is(await forwardsFor(20), 0);
  t.is(await forwardsFor(36), 1, 'in the place of 21');
  t.deepEqual([await forwardsFor(20), await forwardsFor(21)], [0, 1]);
});

test('tensors keep values and types across the border', (t) => {
  const arrays = [
    Float32Array.of(1.5, -2),
    Float64Array.of(Math.PI, -1e300),
    Uint8Array.of(0, 255),
    Int8Array.of(-128, 127),
    Int16Array.of(-32768, 32767),
    Int32Array.of(-1, 2 ** 31 - 1),
    BigInt64Array.of(-1n, 2n ** 62n),
  ];
  for (const array of arrays) {
    const tensor = Tensor.from(array, [2, 1]);
    t.deepEqual(tensor.toTypedArray(), array);
    t.deepEqual([...tensor.shape], [2, 1]);
    t.is(tensor.size, 2);
    t.deepEqual(Array.from(tensor.at(-1).toTypedArray() as Float32Array), [array[1] as number]);
  }
  t.is(Tensor.from([1, 2, 3], [3]).dtype, 'float32');
  const shared = new Float32Array(new SharedArrayBuffer(8));
  shared.set([4, 5]);
  const tensor = Tensor.from(shared, [2]);
  shared.fill(0);
  t.deepEqual(tensor.toTypedArray(), Float32Array.of(4, 5));
  const view = new Float32Array([9, 1, 2, 9]).subarray(1, 3);
  t.deepEqual(Tensor.from(view, [2]).toTypedArray(), Float32Array.of(1, 2));
});
