import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import test from 'ava';
import {
  compareMethods,
  type ExplainBatchMessage,
  type ExplainEndMessage,
  type ExplainErrorMessage,
  Explainer,
  type ExplainStartMessage,
  GradCAM,
  loadModel,
  Tensor,
} from 'node-gradcam';
import { noise } from '../helpers/fixtures.js';
import { holdExecutor } from '../helpers/hold-executor.js';
import { fixturePath } from '../helpers/root.js';
import { runScript } from '../helpers/run-script.js';
import { until } from '../helpers/until.js';

const path = fixturePath('scripted.pt');
const image = () => Tensor.from(noise(3 * 24 * 24), [1, 3, 24, 24]);

test.serial('stats() counts what was done, by outcome', async (t) => {
  await using model = await loadModel(path);
  const zero = { done: 0, failed: 0, aborted: 0, running: 0, waiting: 0 };
  t.deepEqual(model.stats().jobs, zero);
  t.is(model.stats().memory.weightBytes, model.byteLength);
  const cam = new GradCAM({ model, targetLayers: 'layer2' });
  await using executor = await holdExecutor();
  const pending = [cam.explain(image()), cam.explain(image()), cam.explain(image())];
  t.deepEqual(model.stats().jobs, { ...zero, waiting: 3 });
  await executor.release();
  await Promise.all(pending);
  await cam.explain(image(), { targets: 5000 }).catch(() => {});
  await new GradCAM({ model, targetLayers: 'layer1' }).explain(image());
  t.deepEqual(model.stats().jobs, { ...zero, done: 4, failed: 1 });
  t.is(model.stats().plans, 2);
  t.true(model.stats().timings.forward > 0);

  const [waiting, running] = [new AbortController(), new AbortController()];
  await using held = await holdExecutor();
  const reason = new Error('no longer needed');
  const aborted = cam.explain(image(), { signal: waiting.signal });
  waiting.abort(reason);
  await t.throwsAsync(aborted, { is: reason });
  await held.release();
  // A target function is called while its job runs.
  const jobsThen: object[] = [];
  const targets = (output: Tensor) => {
    jobsThen.push(model.stats().jobs);
    running.abort(reason);
    return output.select(0, 1);
  };
  await t.throwsAsync(cam.explain(image(), { targets, signal: running.signal }), { is: reason });
  t.like(jobsThen[0], { running: 1, waiting: 0 });
  await until('the aborted jobs to end', () => model.stats().jobs.aborted === 2);
  t.deepEqual(model.stats().jobs, { ...zero, done: 4, failed: 1, aborted: 2 });
  await model.dispose();
  const { jobs, plans, memory } = model.stats();
  t.is(jobs.done, 4);
  t.is(plans, 0);
  t.is(memory.weightBytes, 0);
});

test.serial('the channels tell of start, batch, end and error', async (t) => {
  await using model = await loadModel(path);
  const heard: [string, object][] = [];
  const messageAt = <T>(index: number) => heard[index]?.[1] as T;
  const listeners = ['start', 'batch', 'end', 'error'].map((event) => {
    const name = `gradcam:explain:${event}`;
    const listener = (message: unknown) => heard.push([event, message as object]);
    subscribe(name, listener);
    return () => unsubscribe(name, listener);
  });
  t.teardown(() => {
    for (const stop of listeners) stop();
  });
  const cam = new GradCAM({ model, targetLayers: 'layer2' });
  await cam.explain(image());
  t.deepEqual(
    heard.map(([event]) => event),
    ['start', 'batch', 'end'],
  );
  const [start, batch, end] = heard.splice(0).map(([, message]) => message) as [
    ExplainStartMessage,
    ExplainBatchMessage,
    ExplainEndMessage,
  ];
  const facts = { model: path, methods: ['GradCAM'], layers: ['layer2'], images: 1 };
  t.deepEqual(start, { id: start.id, ...facts });
  t.deepEqual(batch, { ...facts, timings: batch.timings });
  t.true(batch.timings.forward > 0);
  t.deepEqual(end, { id: start.id, ...facts, duration: end.duration });
  t.true(end.duration > 0);

  const failure = await t.throwsAsync(cam.explain(image(), { targets: 5000 }));
  t.deepEqual(
    heard.map(([event]) => event),
    ['start', 'error'],
  );
  t.is(messageAt<ExplainErrorMessage>(1).error, failure);
  heard.length = 0;

  const explainer = new Explainer({ model, targetLayers: 'layer2' });
  await Promise.all([explainer.explain(image()), explainer.explain(image())]);
  t.deepEqual(
    heard.map(([event]) => event),
    ['start', 'start', 'batch', 'end', 'end'],
  );
  t.is(messageAt<ExplainBatchMessage>(2).images, 2);
  heard.length = 0;

  await compareMethods({ model, targetLayers: 'layer2', methods: ['gradcam', 'layercam'] }, image());
  t.deepEqual(messageAt<ExplainStartMessage>(0).methods, ['GradCAM', 'LayerCAM']);
});

test.serial('NODE_DEBUG=gradcam prints loads, calls and the stages of their batches', async (t) => {
  const script = `
    import { GradCAM, loadModel, Tensor } from 'node-gradcam';
    const model = await loadModel('test/fixtures/scripted.pt');
    const cam = new GradCAM({ model, targetLayers: 'layer2' });
    const image = Tensor.from(new Float32Array(3 * 24 * 24).fill(0.5), [1, 3, 24, 24]);
    await cam.explain(image);
    await cam.explain(image, { targets: 5000 }).catch(() => {});`;
  const { code, stderr } = await runScript(script, { NODE_DEBUG: 'gradcam' });
  t.is(code, 0, stderr);
  const lines = stderr
    .trim()
    .split('\n')
    .map((line) => line.replace(/^GRADCAM \d+: /, ''));
  const expected = [
    /^loaded test\/fixtures\/scripted\.pt on cpu in [\d.]+ ms$/,
    /^explain 1 starts: GradCAM of 1 image at layer2, test\/fixtures\/scripted\.pt$/,
    /^batch of 1 image: queue [\d.]+ ms, plan [\d.]+ ms, forward [\d.]+ ms, backward [\d.]+ ms, cam [\d.]+ ms$/,
    /^explain 1 ends after [\d.]+ ms$/,
    /^explain 2 starts/,
    /^explain 2 fails after [\d.]+ ms: ERR_CLASS_OUT_OF_RANGE: Class 5000 does not exist/,
  ];
  t.is(lines.length, expected.length, stderr);
  for (const [index, pattern] of expected.entries()) t.regex(lines[index] ?? '', pattern);
  t.is((await runScript(script)).stderr, '', 'nothing without it');
});
