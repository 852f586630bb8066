import { setTimeout as sleep } from 'node:timers/promises';
import { doctor, GradCAM, loadModel, Tensor } from 'node-gradcam';
import { onGpu } from '../helpers/cuda.js';
import { liteModel, noise } from '../helpers/fixtures.js';
import { fixturePath } from '../helpers/root.js';

const input = (first: number) => {
  const data = noise(3 * 8 * 8);
  data[0] = first;
  return Tensor.from(data, [1, 3, 8, 8]);
};

onGpu('CUDA: out of memory is an error with its code, and the next call works', async (t) => {
  await using model = await loadModel(fixturePath('cuda/hungry.pt'), { device: 'cuda' });
  const cam = new GradCAM({ model, targetLayers: 'features' });
  await cam.explain(input(1), { targets: 0 });
  const more = Math.ceil((doctor().cuda.devices[0]?.totalBytes ?? 0) / 2 ** 30) + 1;
  for (const call of [() => cam.explain(input(more), { targets: 0 }), () => model.forward(input(more))]) {
    const error = await t.throwsAsync(call, { code: 'ERR_OUT_OF_MEMORY' });
    t.log(error?.message);
    t.notRegex(error?.message ?? '', /Exception raised from|Traceback/);
  }
  await cam.explain(input(1), { targets: 0 });
});

onGpu('CUDA: memory kept for other streams is given back before a call fails', async (t) => {
  await using model = await loadModel(fixturePath('cuda/hungry.pt'), { device: 'cuda' });
  const total = Math.floor((doctor().cuda.devices[0]?.totalBytes ?? 0) / 2 ** 30);
  // The first leaves its memory cached; the second needs another size of more than what is left beside it.
  await model.forward(input(Math.floor(total * 0.55)));
  await model.forward(input(Math.floor(total * 0.7)));
  t.pass();
});

onGpu('CUDA: what is cached goes back when nothing runs, the rest with the model', async (t) => {
  const model = await loadModel(liteModel, { device: 'cuda', dtype: 'float32' });
  const cam = new GradCAM({ model, targetLayers: '_conv_head' });
  await cam.explain(Tensor.from(noise(8 * 3 * 224 * 224), [8, 3, 224, 224]), { targets: 1 });
  const [busy] = model.stats().memory.devices;
  t.is(busy?.device, 'cuda:0');
  t.true((busy?.tensorBytes ?? 0) >= model.byteLength);
  t.true((busy?.cachedBytes ?? 0) > 10 * 2 ** 20);
  await sleep(3500);
  const [idle] = model.stats().memory.devices;
  t.true((idle?.cachedBytes ?? 0) < 40 * 2 ** 20, `${idle?.cachedBytes} bytes are cached`);
  await model.dispose();
  await sleep(3500);
  const [gone] = model.stats().memory.devices;
  t.true((gone?.tensorBytes ?? 0) + (gone?.cachedBytes ?? 0) < 2 ** 20 * 80, JSON.stringify(gone));
});

onGpu('CUDA: memory does not grow over hundreds of calls', async (t) => {
  await using model = await loadModel(liteModel, { device: 'cuda', dtype: 'float32' });
  const cam = new GradCAM({ model, targetLayers: '_conv_head' });
  const x = Tensor.from(noise(4 * 3 * 224 * 224), [4, 3, 224, 224]);
  const held = () => model.stats().memory.devices[0]?.tensorBytes ?? 0;
  for (let call = 0; call < 20; call++) await cam.explain(x, { targets: 1 });
  const before = held();
  for (let call = 0; call < 300; call++) await cam.explain(x, { targets: 1 });
  t.is(held(), before);
});
