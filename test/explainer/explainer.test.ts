import test from 'ava';
import { Explainer, GradCAM, loadModel, type Model, Tensor } from 'node-gradcam';
import { liteModel, noise } from '../helpers/fixtures.js';
import { asCloseAs, yardstick } from '../helpers/float64-result.js';
import { holdExecutor } from '../helpers/hold-executor.js';
import { turns } from '../helpers/until.js';

const targetLayers = '_conv_head';
const image = (seed: number, size = 96) =>
  Tensor.from(
    noise(3 * size * size).map((value) => value * (1 + seed / 10)),
    [1, 3, size, size],
  );

let model: Model;
test.before(async () => {
  model = await loadModel(liteModel);
});
test.after.always(async () => {
  await model.dispose();
});

test.serial('every caller gets what it would get alone, from shared batches', async (t) => {
  const explainer = new Explainer({ model, targetLayers, maxBatch: 4 });
  const cam = new GradCAM({ model, targetLayers });
  const calls = Array.from({ length: 10 }, (_, index) => ({
    input: image(index, 128),
    targets: index % 3 === 0 ? [[index, index + 1, 700]] : index,
  }));
  const together = await Promise.all(
    calls.map(({ input, targets }) => explainer.explain(input, { targets })),
  );
  for (const [index, { input, targets }] of calls.entries()) {
    const alone = await cam.explain(input, { targets });
    const shared = together[index];
    t.deepEqual(shared?.heatmaps.shape, alone.heatmaps.shape);
    const plainly = await yardstick(liteModel, async (how) => {
      const { heatmaps } = await new GradCAM({ ...how, targetLayers }).explain(input, { targets });
      return heatmaps;
    });
    asCloseAs(t, `call ${index}`, shared?.heatmaps as Tensor, plainly);
    asCloseAs(t, `call ${index}, alone`, alone.heatmaps, plainly);
    t.deepEqual(
      shared?.maps.map(({ imageIndex, targetIndex, classIndex }) => [imageIndex, targetIndex, classIndex]),
      alone.maps.map(({ imageIndex, targetIndex, classIndex }) => [imageIndex, targetIndex, classIndex]),
    );
    t.deepEqual((shared?.outputs as Tensor | undefined)?.shape, [1, 1000]);
    t.deepEqual(shared?.layers[0]?.shape, alone.layers[0]?.shape);
  }
  const { requests, batches, images, meanBatchSize, failed, waiting, running } = explainer.stats;
  t.deepEqual(
    { requests, images, failed, waiting, running },
    { requests: 10, images: 10, failed: 0, waiting: 0, running: 0 },
  );
  t.true(batches <= 4 && meanBatchSize >= 2.5, `${batches} batches`);
});

test.serial('an image that fails fails alone', async (t) => {
  const explainer = new Explainer({ model, targetLayers });
  const results = await Promise.allSettled([
    explainer.explain(image(1), { targets: 1 }),
    explainer.explain(image(2), { targets: 5000 }),
    explainer.explain(Tensor.from(new Float32Array(3 * 96 * 96).fill(Number.NaN), [1, 3, 96, 96])),
    explainer.explain(image(4)),
  ]);
  t.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'rejected', 'fulfilled'],
  );
  t.is((results[1] as PromiseRejectedResult).reason.code, 'ERR_CLASS_OUT_OF_RANGE');
  t.is((results[2] as PromiseRejectedResult).reason.code, 'ERR_INPUT_NOT_FINITE');
  t.is(explainer.stats.failed, 2);
});

test.serial('images of different sizes do not share a batch, and all are answered', async (t) => {
  const explainer = new Explainer({ model, targetLayers });
  const sizes = [96, 64, 96, 64, 128];
  const results = await Promise.all(sizes.map((size, index) => explainer.explain(image(index, size))));
  t.deepEqual(
    results.map(({ heatmaps }) => heatmaps.shape),
    sizes.map((size) => [1, size, size]),
  );
  t.is(explainer.stats.batches, 3);
});

test.serial('a full queue refuses with ERR_BUSY, and takes images again later', async (t) => {
  const explainer = new Explainer({ model, targetLayers, maxBatch: 1, maxQueue: 2 });
  const accepted = [explainer.explain(image(0)), explainer.explain(image(1))];
  await t.throwsAsync(explainer.explain(image(2)), { code: 'ERR_BUSY', message: /2 images wait already/ });
  await Promise.all(accepted);
  await t.notThrowsAsync(explainer.explain(image(3)));
  t.is(explainer.stats.refused, 1);
  t.is(explainer.stats.requests, 3);
});

test.serial('a signal takes an image out, before and while it runs; the others go on', async (t) => {
  const explainer = new Explainer({ model, targetLayers, maxBatch: 2 });
  const aborted = await explainer
    .explain(image(0), { signal: AbortSignal.abort() })
    .catch((reason) => reason);
  t.is(aborted.name, 'AbortError');
  const [first, third] = [new AbortController(), new AbortController()];
  const pending = [
    explainer.explain(image(0), { signal: first.signal }),
    explainer.explain(image(1), {
      // Called while their batch runs.
      targets: (output) => {
        first.abort();
        return output.select(0, 1);
      },
    }),
    explainer.explain(image(2), { signal: third.signal }),
    explainer.explain(image(3)),
  ];
  third.abort();
  const settled = await Promise.allSettled(pending);
  t.deepEqual(
    settled.map(({ status }) => status),
    ['rejected', 'fulfilled', 'rejected', 'fulfilled'],
  );
  t.is(explainer.stats.aborted, 2);
  t.is(explainer.stats.failed, 0);
});

test.serial('with maxDelayMs an image waits for company, and a full batch starts at once', async (t) => {
  await using executor = await holdExecutor();
  const explainer = new Explainer({ model, targetLayers, maxBatch: 2, maxDelayMs: 60_000 });
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const before = timers();
  const leaving = new AbortController();
  const left = explainer.explain(image(0), { signal: leaving.signal }).catch((reason) => reason);
  await turns();
  t.is(timers(), before + 1);
  leaving.abort('gone');
  t.is(await left, 'gone');
  t.is(timers(), before, 'nothing is left that keeps the process from ending');
  const first = explainer.explain(image(1));
  await turns();
  t.like(explainer.stats, { waiting: 1, running: 0, batches: 0 });
  const second = explainer.explain(image(2));
  await turns();
  t.like(explainer.stats, { waiting: 0, running: 1 });
  t.is(timers(), before, 'nothing is left here either');
  await executor.release();
  t.deepEqual(
    (await Promise.all([first, second])).map(({ batchSize }) => batchSize),
    [2, 2],
  );
});

test.serial('images of another size do not make a batch full', async (t) => {
  await using executor = await holdExecutor();
  const explainer = new Explainer({ model, targetLayers, maxBatch: 2, maxDelayMs: 60_000 });
  const leaving = new AbortController();
  const lone = explainer.explain(image(0, 64), { signal: leaving.signal }).catch((reason) => reason);
  const pair = [image(1), image(2)].map((each) => explainer.explain(each));
  await turns();
  t.like(explainer.stats, { waiting: 1, running: 1 });
  await executor.release();
  t.deepEqual(
    (await Promise.all(pair)).map(({ batchSize }) => batchSize),
    [2, 2],
  );
  t.like(explainer.stats, { waiting: 1, batches: 1 });
  leaving.abort('gone');
  t.is(await lone, 'gone');
});

test.serial('an image that gets no company starts after maxDelayMs', async (t) => {
  const explainer = new Explainer({ model, targetLayers, maxBatch: 2, maxDelayMs: 50 });
  const { batchSize, timings } = await explainer.explain(image(3));
  t.is(batchSize, 1);
  t.true(timings.queue >= 50, `${timings.queue} ms`);
});

test.serial('several images in one call stay together', async (t) => {
  const explainer = new Explainer({ model, targetLayers, maxBatch: 2 });
  const three = Tensor.from(noise(3 * 3 * 96 * 96), [3, 3, 96, 96]);
  const { heatmaps, maps } = await explainer.explain(three, { targets: [1, 2, 3] });
  t.deepEqual(heatmaps.shape, [3, 96, 96]);
  t.deepEqual(
    maps.map(({ classIndex }) => classIndex),
    [1, 2, 3],
  );
  await t.throwsAsync(explainer.explain(three, { targets: [1, 2] }), { code: 'ERR_TARGET_COUNT' });
});

test.serial('dispose() finishes what was accepted and refuses the rest', async (t) => {
  const explainer = new Explainer({ model, targetLayers, maxBatch: 2 });
  const accepted = Promise.all([0, 1, 2].map((seed) => explainer.explain(image(seed))));
  const disposed = explainer.dispose();
  await t.throwsAsync(explainer.explain(image(3)), { code: 'ERR_DISPOSED' });
  await disposed;
  t.is(explainer.stats.images, 3);
  t.is((await accepted).length, 3);
});

test.serial('wrong options are refused', (t) => {
  const make = (options: object) => () => new Explainer({ model, ...options });
  t.throws(make({ method: 'magic' }), { code: 'ERR_INVALID_ARG_TYPE', message: /one of 'gradcam'/ });
  t.throws(make({ maxBatch: 0 }), { code: 'ERR_OUT_OF_RANGE' });
  t.throws(make({ maxBatch: 2.5 }), { code: 'ERR_OUT_OF_RANGE' });
  t.throws(make({ maxDelayMs: Number.NaN }), { code: 'ERR_OUT_OF_RANGE' });
  t.throws(make({ maxQueue: '3' }), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(make({ maxbatch: 3 }), { code: 'ERR_UNKNOWN_OPTION' });
  t.throws(make({ targetLayers: '_conv_haed' }), { code: 'ERR_UNKNOWN_LAYER' });
});
