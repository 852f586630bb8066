import test from 'ava';
import { GradCAM, loadModel, type Model, setThreads, Tensor, threads } from 'node-gradcam';
import { liteModel, noise, sameBits } from '../helpers/fixtures.js';
import { holdExecutor } from '../helpers/hold-executor.js';
import { fixturePath } from '../helpers/root.js';

// That nothing is left for the first call is seen by what the model holds: plans, and packed weights.

const layer = '_blocks.15';
const input = (count: number, size = 64) => Tensor.from(noise(count * 3 * size ** 2), [count, 3, size, size]);
const held = (model: Model) => {
  const { plans, memory } = model.stats();
  return { plans, packedBytes: memory.packedBytes };
};

test('an explain finds its plan and its packed weights', async (t) => {
  await using model = await loadModel(liteModel);
  t.is(await model.warmUp({ shape: [1, 3, 64, 64], targetLayers: layer }), undefined);
  await model.warmUp({ shape: [3, 3, 64, 64], targetLayers: layer });
  const warm = held(model);
  t.is(warm.plans, 1);
  t.true(warm.packedBytes > model.byteLength / 4);
  const cam = new GradCAM({ model, targetLayers: layer });
  for (const count of [1, 3]) {
    using explanation = await cam.explain(input(count));
    t.is(explanation.maps.length, count);
    t.deepEqual(held(model), warm);
  }
});

test('the first explain gives what later ones give', async (t) => {
  await using model = await loadModel(liteModel);
  await model.warmUp({ inputs: input(2), targetLayers: [layer] });
  const cam = new GradCAM({ model, targetLayers: layer });
  const [first, second] = [await cam.explain(input(2)), await cam.explain(input(2))];
  t.true(sameBits(first.heatmaps.toTypedArray(), second.heatmaps.toTypedArray()));
});

test('without layers no explain is made ready', async (t) => {
  await using model = await loadModel(liteModel);
  await model.warmUp({ shape: [1, 3, 64, 64] });
  t.is(model.stats().plans, 0);
  const { done, failed } = model.stats().jobs;
  t.deepEqual({ done, failed }, { done: 1, failed: 0 });
  const output = (await model.forward(input(1))) as Tensor;
  t.deepEqual(output.shape, [1, 1000]);
});

test('the walk back is run, of what has a gradient', async (t) => {
  await using model = await loadModel(fixturePath('int_output.pt'));
  const cam = new GradCAM({ model, targetLayers: 'conv' });
  const tiny = Tensor.from(noise(1728), [1, 3, 24, 24]);
  await t.throwsAsync(cam.explain(tiny), { code: 'ERR_OUTPUT_SHAPE' });
  await t.notThrowsAsync(model.warmUp({ inputs: tiny, targetLayers: 'conv' }));
});

test('what comes of the inputs does not matter', async (t) => {
  await using model = await loadModel(fixturePath('scripted.pt'));
  const huge = Tensor.from(new Float32Array(1728).fill(3e38), [1, 3, 24, 24]);
  const cam = new GradCAM({ model, targetLayers: 'layer2' });
  await t.throwsAsync(cam.explain(huge), { code: 'ERR_NOT_FINITE' });
  await t.notThrowsAsync(model.warmUp({ inputs: huge, targetLayers: 'layer2' }));
});

test('several inputs, arguments, another method, the graph as it is', async (t) => {
  await using several = await loadModel(fixturePath('model-kinds/options.pt'));
  const inputs = [Tensor.from(noise(2 * 588), [2, 3, 14, 14]), Tensor.from(noise(16), [2, 8])];
  const targetLayers = several.layers()[0]?.path as string;
  await several.warmUp({ inputs, targetLayers, arguments: { scale: 2 } });
  await several.warmUp({ inputs, targetLayers, arguments: { scale: 2 }, optimize: false });
  t.is(several.stats().plans, 2);
  await t.throwsAsync(several.warmUp({ inputs, targetLayers }), { code: 'ERR_MODEL_ARGUMENTS' });

  await using two = await loadModel(fixturePath('no_forward.pt'));
  const [modelMethod] = two.methods;
  t.not(modelMethod, 'forward');
  await two.warmUp({ shape: [1, 3, 24, 24], modelMethod: modelMethod as string });
  await t.throwsAsync(two.warmUp({ shape: [1, 3, 24, 24] }), { code: 'ERR_NO_FORWARD' });
});

test('a list of images', async (t) => {
  await using model = await loadModel(fixturePath('model-kinds/list-of-images.pt'));
  const how = { targetLayers: 'conv', arguments: { exponent: 1 } };
  await model.warmUp({ shape: [2, 3, 14, 14], ...how });
  await model.warmUp({ inputs: [Tensor.from(noise(588), [3, 14, 14])], ...how });
  t.is(model.stats().plans, 1);
});

test('failures are those of an explain', async (t) => {
  await using model = await loadModel(fixturePath('scripted.pt'));
  const shape = [1, 3, 24, 24];
  await t.throwsAsync(model.warmUp({ shape, targetLayers: 'layer9' }), { code: 'ERR_UNKNOWN_LAYER' });
  await t.throwsAsync(model.warmUp({ shape: [1, 7, 24, 24], targetLayers: 'layer2' }), {
    code: 'ERR_INPUT_SHAPE',
  });
  await t.throwsAsync(model.warmUp({ shape: [0, 3, 24, 24] }), { code: 'ERR_INPUT_SHAPE' });
  const nan = Tensor.from(new Float32Array(1728).fill(Number.NaN), shape);
  await t.throwsAsync(model.warmUp({ inputs: nan }), { code: 'ERR_INPUT_NOT_FINITE' });
  await t.throwsAsync(model.warmUp({ shape: [1, -3] }), { code: 'ERR_OUT_OF_RANGE' });
  await t.throwsAsync(model.warmUp({ shape, inputs: nan }), { code: 'ERR_INVALID_ARG_TYPE' });
  await t.throwsAsync(model.warmUp({}), { code: 'ERR_INVALID_ARG_TYPE' });
  await t.throwsAsync(model.warmUp({ shape, layers: 'layer2' } as never), { code: 'ERR_UNKNOWN_OPTION' });
  await using unused = await loadModel(fixturePath('disconnected.pt'));
  await t.throwsAsync(unused.warmUp({ shape, targetLayers: 'unused' }), { code: 'ERR_LAYER_NOT_CALLED' });
  await model.dispose();
  await t.throwsAsync(model.warmUp({ shape }), { code: 'ERR_DISPOSED' });
});

test('a batch of a model that takes one image', async (t) => {
  await using model = await loadModel(fixturePath('batches/one-image.pt'));
  const warm = model.warmUp({ shape: [2, 3, 16, 16], targetLayers: model.layers()[0]?.path as string });
  await t.throwsAsync(warm, { code: 'ERR_INPUT_SHAPE', message: /one image at a time/ });
});

test.serial('a signal ends it', async (t) => {
  await using model = await loadModel(liteModel);
  await using executor = await holdExecutor();
  const controller = new AbortController();
  const warm = model.warmUp({
    shape: [8, 3, 224, 224],
    targetLayers: layer,
    signal: controller.signal,
  });
  const reason = new Error('not any more');
  controller.abort(reason);
  t.is(await t.throwsAsync(warm), reason);
  await executor.release();
  t.is(model.stats().plans, 0);
});

test.serial('two executors share what one has warmed', async (t) => {
  const before = threads();
  setThreads({ executors: 2 });
  t.teardown(() => setThreads(before));
  await using model = await loadModel(liteModel);
  await model.warmUp({ shape: [1, 3, 64, 64], targetLayers: layer });
  const warm = held(model);
  const cam = new GradCAM({ model, targetLayers: layer });
  await Promise.all([1, 2, 3, 4].map(() => cam.explain(input(1))));
  t.deepEqual(held(model), warm);
});
