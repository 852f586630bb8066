import test from 'ava';
import { GradCAM, loadModel, Tensor } from 'node-gradcam';
import { noise } from './helpers/fixtures.js';

const modelPath = new URL('../../examples/models/efficientnet_lite0.pt', import.meta.url).pathname;
const image = () => Tensor.from(noise(3 * 224 * 224), [1, 3, 224, 224]);

test.serial('a timer of 5 ms is never more than 50 ms late during 20 explains', async (t) => {
  await using model = await loadModel(modelPath);
  const cam = new GradCAM({ model });
  await cam.explain(image());
  let latest = 0;
  let ticks = 0;
  let previous = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    latest = Math.max(latest, now - previous - 5);
    previous = now;
    ticks++;
  }, 5);
  for (let index = 0; index < 20; index++) await cam.explain(image());
  clearInterval(timer);
  t.log(`${ticks} ticks, the latest ${latest.toFixed(1)} ms late`);
  t.true(ticks > 20);
  t.true(latest <= 50, `a tick was ${latest} ms late`);
});

test.serial('the input is taken at the time of the call', async (t) => {
  await using model = await loadModel(modelPath);
  const cam = new GradCAM({ model });
  const expected = (await cam.explain(image())).heatmaps.toTypedArray();
  const data = noise(3 * 224 * 224);
  const pending = cam.explain({ data, shape: [1, 3, 224, 224] });
  data.fill(Number.NaN);
  structuredClone(data, { transfer: [data.buffer as ArrayBuffer] });
  t.deepEqual((await pending).heatmaps.toTypedArray(), expected);
});

test.serial('an aborted explain rejects at once with the reason, and the next one works', async (t) => {
  await using model = await loadModel(modelPath);
  const cam = new GradCAM({ model });
  const reason = new Error('no longer needed');
  await t.throwsAsync(cam.explain(image(), { signal: AbortSignal.abort(reason) }), { is: reason });

  const controller = new AbortController();
  const running = cam.explain(image(), { signal: controller.signal });
  const queued = cam.explain(image(), { signal: controller.signal });
  setTimeout(() => controller.abort(reason), 5);
  await t.throwsAsync(running, { is: reason });
  await t.throwsAsync(queued, { is: reason });
  t.is((await cam.explain(image())).heatmaps.shape[0], 1);
});

test.serial('concurrent explains of one model equal the same explains in turn', async (t) => {
  await using model = await loadModel(modelPath);
  const cam = new GradCAM({ model });
  const classes = [1, 281, 7, 999];
  const inTurn: unknown[] = [];
  for (const target of classes)
    inTurn.push((await cam.explain(image(), { targets: target })).heatmaps.toTypedArray());
  const together = await Promise.all(classes.map((target) => cam.explain(image(), { targets: target })));
  t.deepEqual(
    together.map(({ heatmaps }) => heatmaps.toTypedArray()),
    inTurn as never,
  );
});
