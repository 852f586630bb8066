import test from 'ava';
import { doctor, Explainer, GradCAM, HiResCAM, loadModel, Tensor } from 'node-gradcam';
import { maxDifference, noise } from './helpers/fixtures.js';

// Runs where a CUDA device is; elsewhere each test is skipped, and its name says what was not tried.
const { available, reason } = doctor().cuda;
const onGpu = available ? test.serial : test.skip;
const why = available ? '' : ` (skipped: ${reason})`;
const modelPath = new URL('../../examples/models/efficientnet_lite0.pt', import.meta.url).pathname;
const input = (count: number) => Tensor.from(noise(count * 3 * 224 * 224), [count, 3, 224, 224]);
const values = (tensor: Tensor) => tensor.toTypedArray() as Float32Array;

onGpu(`CUDA: maps equal those of the CPU, and come back to it${why}`, async (t) => {
  await using onDevice = await loadModel(modelPath, { device: 'cuda', dtype: 'float32' });
  await using onHost = await loadModel(modelPath);
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

onGpu(`CUDA: concurrent callers get what each gets alone${why}`, async (t) => {
  await using model = await loadModel(modelPath, { device: 'cuda', dtype: 'float32' });
  const explainer = new Explainer({ model, targetLayers: '_conv_head', maxBatch: 4 });
  const alone = await new GradCAM({ model, targetLayers: '_conv_head' }).explain(input(1), { targets: 7 });
  const together = await Promise.all(
    Array.from({ length: 16 }, () => explainer.explain(input(1), { targets: 7 })),
  );
  for (const { heatmaps } of together) t.true(maxDifference(values(heatmaps), values(alone.heatmaps)) < 1e-3);
});

onGpu(`CUDA: half precision on the device${why}`, async (t) => {
  await using model = await loadModel(modelPath, { device: 'cuda', dtype: 'float16' });
  t.is(model.dtype, 'float16');
  const { heatmaps } = await new GradCAM({ model, targetLayers: '_conv_head' }).explain(input(1));
  t.true(values(heatmaps).every(Number.isFinite));
});

test('CUDA: a device that is not there is refused with the reason', async (t) => {
  await t.throwsAsync(loadModel(modelPath, { device: 'cuda:63' }), { code: 'ERR_CUDA_UNAVAILABLE' });
});
