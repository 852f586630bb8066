import test from 'ava';
import { ClipExplainer, Explainer, GradCAM, HiResCAM, loadModel, Tensor } from 'node-gradcam';
import { liteModel, maxDifference, noise } from '../helpers/fixtures.js';
import { fixturePath } from '../helpers/root.js';
import { testWith } from '../helpers/test-with.js';

const onGpu = testWith('CUDA');
const input = (count: number) => Tensor.from(noise(count * 3 * 224 * 224), [count, 3, 224, 224]);
const values = (tensor: Tensor) => tensor.toTypedArray() as Float32Array;

onGpu('CUDA: maps equal those of the CPU, and come back to it', async (t) => {
  await using onDevice = await loadModel(liteModel, { device: 'cuda', dtype: 'float32' });
  await using onHost = await loadModel(liteModel);
  t.regex(onDevice.device, /^cuda:\d+$/);
  for (const Method of [GradCAM, HiResCAM]) {
    const [fast, slow] = [
      await new Method({ model: onDevice, targetLayers: '_conv_head' }).explain(input(3), { targets: 281 }),
      await new Method({ model: onHost, targetLayers: '_conv_head' }).explain(input(3), { targets: 281 }),
    ];
    t.is(fast.heatmaps.device, 'cpu');
    t.true(maxDifference(values(fast.heatmaps), values(slow.heatmaps)) < 1e-3);
  }
});

onGpu('CUDA: concurrent callers get what each gets alone', async (t) => {
  await using model = await loadModel(liteModel, { device: 'cuda', dtype: 'float32' });
  const explainer = new Explainer({ model, targetLayers: '_conv_head', maxBatch: 4 });
  const alone = await new GradCAM({ model, targetLayers: '_conv_head' }).explain(input(1), { targets: 7 });
  const together = await Promise.all(
    Array.from({ length: 16 }, () => explainer.explain(input(1), { targets: 7 })),
  );
  for (const { heatmaps } of together) t.true(maxDifference(values(heatmaps), values(alone.heatmaps)) < 1e-3);
});

onGpu('CUDA: half precision on the device', async (t) => {
  await using model = await loadModel(liteModel, { device: 'cuda', dtype: 'float16' });
  t.is(model.dtype, 'float16');
  const { heatmaps } = await new GradCAM({ model, targetLayers: '_conv_head' }).explain(input(1));
  t.true(values(heatmaps).every(Number.isFinite));
});

onGpu('CUDA: a CLIP traced there, in half precision as stored and in float32', async (t) => {
  const images = Tensor.from(noise(3 * 128 * 128), [1, 3, 128, 128]);
  const explainOn = async (options: Parameters<typeof loadModel>[1]) => {
    await using model = await loadModel(fixturePath('clip/resnet.pt'), options);
    return await new ClipExplainer({ model }).explain(images, ['the cat', 'a dog']);
  };
  const expected = await explainOn({});
  const single = await explainOn({ device: 'cuda', dtype: 'float32' });
  t.true(maxDifference(values(single.heatmaps), values(expected.heatmaps)) < 1e-3);
  const half = await explainOn({ device: 'cuda' });
  t.true(values(half.heatmaps).every(Number.isFinite));
  const similarity = (explanation: typeof expected) => Float64Array.from(explanation.similarities[0] ?? []);
  t.true(maxDifference(similarity(half), similarity(expected)) < 0.05);
});

test('CUDA: a device that is not there is refused with the reason', async (t) => {
  await t.throwsAsync(loadModel(liteModel, { device: 'cuda:63' }), { code: 'ERR_CUDA_UNAVAILABLE' });
});
