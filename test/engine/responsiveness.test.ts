import { readFileSync } from 'node:fs';
import test from 'ava';
import { GradCAM, loadModel, Tensor, type TensorData } from 'node-gradcam';
import { liteModel, noise, sameBits } from '../helpers/fixtures.js';
import { turns } from '../helpers/until.js';

const image = () => Tensor.from(noise(3 * 224 * 224), [1, 3, 224, 224]);

/** Milliseconds for which the JavaScript thread has had a processor. */
const javaScriptTime = () =>
  Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6;

test.serial('the event loop turns while an explain runs', async (t) => {
  await using model = await loadModel(liteModel);
  const cam = new GradCAM({ model });
  for (let round = 0; round < 5; round++) {
    let ended = false;
    const pending = cam.explain(image()).finally(() => {
      ended = true;
    });
    let seenRunning = 0;
    while (!ended) {
      seenRunning += model.stats().jobs.running;
      await turns(1);
    }
    await pending;
    t.true(seenRunning > 0);
  }
});

const onLinux = process.platform === 'linux' ? test.serial : test.serial.skip;
onLinux('the JavaScript thread has next to no part in the work of an explain', async (t) => {
  await using model = await loadModel(liteModel);
  const cam = new GradCAM({ model });
  const input = Tensor.from(noise(4 * 3 * 224 * 224), [4, 3, 224, 224]);
  await cam.explain(input);
  const before = { ofThread: javaScriptTime(), ofProcess: process.cpuUsage() };
  for (let round = 0; round < 5; round++) await cam.explain(input);
  const { user, system } = process.cpuUsage(before.ofProcess);
  const part = (javaScriptTime() - before.ofThread) / ((user + system) / 1000);
  t.log(`${(part * 100).toFixed(1)} % of the processor's time`);
  t.true(part < 0.1);
});

test.serial('the input is taken at the time of the call', async (t) => {
  await using model = await loadModel(liteModel);
  const cam = new GradCAM({ model });
  const expected = (await cam.explain(image())).heatmaps.toTypedArray();
  const data = noise(3 * 224 * 224);
  const pending = cam.explain({ data, shape: [1, 3, 224, 224] });
  data.fill(Number.NaN);
  structuredClone(data, { transfer: [data.buffer as ArrayBuffer] });
  t.true(sameBits((await pending).heatmaps.toTypedArray(), expected));
});

test.serial('an aborted explain rejects at once with the reason, and the next one works', async (t) => {
  await using model = await loadModel(liteModel);
  const cam = new GradCAM({ model });
  const reason = new Error('no longer needed');
  await t.throwsAsync(cam.explain(image(), { signal: AbortSignal.abort(reason) }), { is: reason });

  const controller = new AbortController();
  const { signal } = controller;
  // Called while its job runs, and another one waits behind it.
  const targets = (output: Tensor) => {
    controller.abort(reason);
    return output.select(0, 1);
  };
  const running = cam.explain(image(), { signal, targets });
  const queued = cam.explain(image(), { signal });
  await t.throwsAsync(running, { is: reason });
  await t.throwsAsync(queued, { is: reason });
  t.is((await cam.explain(image())).heatmaps.shape[0], 1);
});

test.serial('concurrent explains of one model equal the same explains in turn', async (t) => {
  await using model = await loadModel(liteModel);
  const cam = new GradCAM({ model });
  const classes = [1, 281, 7, 999];
  const inTurn: TensorData[] = [];
  for (const target of classes)
    inTurn.push((await cam.explain(image(), { targets: target })).heatmaps.toTypedArray());
  const together = await Promise.all(classes.map((target) => cam.explain(image(), { targets: target })));
  for (const [index, { heatmaps }] of together.entries())
    t.true(sameBits(heatmaps.toTypedArray(), inTurn[index] as TensorData));
});
