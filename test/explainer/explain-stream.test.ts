import { EventEmitter, getEventListeners, once } from 'node:events';
import { PassThrough } from 'node:stream';
import test from 'ava';
import { Explainer, explainStream, GradCAM, loadModel, type Model, Tensor } from 'node-gradcam';
import { noise } from '../helpers/fixtures.js';
import { asCloseAs, yardstick } from '../helpers/float64-result.js';
import { fixturePath } from '../helpers/root.js';
import { turns, until } from '../helpers/until.js';

const modelPath = fixturePath('family/resnet.pt');
const targetLayers = 'layer2.1';
let model: Model;
test.before(async () => {
  model = await loadModel(modelPath);
});
test.after.always(() => model.dispose());

const frame = (seed: number) => Tensor.from(noise(3 * 16 * 20, seed), [1, 3, 16, 20]);
const values = (tensor: Tensor) => [...(tensor.toTypedArray() as Float32Array)];

async function* frames(count: number, taken: number[] = []) {
  for (let index = 0; index < count; index++) {
    await turns(1);
    taken.push(index);
    yield frame(index);
  }
}

test('results in the order of the items, each what it is alone', async (t) => {
  const explainer = new Explainer({ model, targetLayers, maxBatch: 4 });
  let expected = 0;
  const items = [5, 3, 8, 1, 9, 2, 7, 4, 6, 0];
  const ready = new EventEmitter();
  const options = {
    concurrency: 7,
    targets: 1,
    // Of two items the later one is ready first.
    prepare: async (seed: number) => {
      const index = items.indexOf(seed);
      if (index % 2 === 0) await once(ready, String(index + 1));
      ready.emit(String(index));
      return { tensor: frame(seed) };
    },
  };
  for await (const { index, item, input, explanation } of explainStream(explainer, items, options)) {
    t.is(index, expected++);
    t.deepEqual(values(input.tensor), values(frame(item)));
    const alone = await yardstick(modelPath, async (plainly) => {
      const cam = new GradCAM({ ...plainly, targetLayers });
      return (await cam.explain(input.tensor, { targets: 1 })).heatmaps;
    });
    asCloseAs(t, `item ${index}`, explanation.heatmaps, alone);
  }
  t.is(expected, 10);
});

test('takes no more from the source than it may work on', async (t) => {
  const taken: number[] = [];
  const cam = new GradCAM({ model, targetLayers });
  for await (const { index } of explainStream(cam, frames(30, taken), { concurrency: 3 })) {
    t.true(taken.length <= index + 1 + 3 + 1, `${taken.length} taken at ${index}`);
    if (index > 5) await turns(); // It could take more meanwhile.
  }
  t.is(taken.length, 30);
});

test('a source that waits does not hold back what is ready', async (t) => {
  const cam = new GradCAM({ model, targetLayers });
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  async function* slow() {
    yield frame(1);
    await held;
    yield frame(2);
  }
  const results = explainStream(cam, slow(), { concurrency: 4 });
  t.is((await results.next()).value?.index, 0); // would never come
  release();
  t.is((await results.next()).value?.index, 1);
  t.true((await results.next()).done);
});

test('leaving the loop closes the source and aborts what is under way', async (t) => {
  let closed = false;
  async function* source() {
    try {
      for (let index = 0; ; index++) yield frame(index);
    } finally {
      closed = true;
    }
  }
  const explainer = new Explainer({ model, targetLayers, maxBatch: 2 });
  for await (const { index } of explainStream(explainer, source())) if (index === 2) break;
  t.true(closed);
  await explainer.dispose();
  t.is(explainer.stats.waiting, 0);
});

test('one bad item ends the stream, or is told of in its place', async (t) => {
  const cam = new GradCAM({ model, targetLayers });
  const items = [frame(1), Tensor.from([1, 2], [2]), frame(3)];
  await t.throwsAsync(
    async () => {
      for await (const _ of explainStream(cam, items));
    },
    { code: 'ERR_INPUT_SHAPE' },
  );
  const found: (string | number)[] = [];
  for await (const { index, explanation, error } of explainStream(cam, items, { errors: 'yield' }))
    found.push(explanation ? index : (error as { code: string }).code);
  t.deepEqual(found, [0, 'ERR_INPUT_SHAPE', 2]);
});

test('an abort ends the stream with its reason', async (t) => {
  const controller = new AbortController();
  const cam = new GradCAM({ model, targetLayers });
  const run = async () => {
    for await (const { index } of explainStream(cam, frames(1000), { signal: controller.signal }))
      if (index === 3) controller.abort(new Error('enough'));
  };
  await t.throwsAsync(run(), { message: 'enough' });
});

/** A camera that shows some frames and then hangs; nothing but an item ends its waiting. */
function stalled(count: number) {
  const camera = new EventEmitter();
  async function* source() {
    for (let index = 0; index < count; index++) yield frame(index);
    camera.emit('hangs');
    await new Promise(() => {});
  }
  return { hangs: once(camera, 'hangs'), source: source() };
}

test('a signal ends a stream whose source hangs, at its start and behind some items', async (t) => {
  t.timeout(60_000);
  const cam = new GradCAM({ model, targetLayers });
  for (const count of [0, 3]) {
    const { hangs, source } = stalled(count);
    const controller = new AbortController();
    const seen: number[] = [];
    const run = async () => {
      for await (const { index } of explainStream(cam, source, { signal: controller.signal }))
        seen.push(index);
    };
    const ended = t.throwsAsync(run(), { message: 'enough' });
    await hangs;
    if (count > 0) await until('all frames', () => seen.length === count);
    controller.abort(new Error('enough'));
    await ended;
    t.is(seen.length, count);
  }
});

test('leaving the loop ends a stream whose source hangs', async (t) => {
  t.timeout(60_000);
  const explainer = new Explainer({ model, targetLayers, maxBatch: 2 });
  for await (const { index } of explainStream(explainer, stalled(3).source)) if (index === 2) break;
  const results = explainStream(explainer, stalled(1).source);
  t.is((await results.next()).value?.index, 0);
  const waiting = results.next(); // would never come
  t.true((await results.return()).done);
  t.true((await waiting).done);
  await explainer.dispose();
});

test('what prepares an item may hang as well', async (t) => {
  t.timeout(60_000);
  const cam = new GradCAM({ model, targetLayers });
  const controller = new AbortController();
  const preparing = new EventEmitter();
  const started = once(preparing, 'started');
  const prepare = (): Promise<Tensor> => {
    preparing.emit('started');
    return new Promise(() => {});
  };
  const run = async () => {
    for await (const _ of explainStream(cam, [1, 2], { prepare, signal: controller.signal }));
  };
  const ended = t.throwsAsync(run(), { message: 'enough' });
  await started;
  controller.abort(new Error('enough'));
  await ended;
});

test('a source that is read by stream events is closed without waiting for its next item', async (t) => {
  t.timeout(60_000);
  const cam = new GradCAM({ model, targetLayers });
  const source = new PassThrough({ objectMode: true });
  source.write(frame(1));
  for await (const _ of explainStream(cam, source as AsyncIterable<Tensor>)) break;
  t.pass();
});

test('a stream listens to its signal itself, and only while it runs', async (t) => {
  // A signal that lives long would remember each stream that it was given to by AbortSignal.any().
  const { signal } = new AbortController();
  const cam = new GradCAM({ model, targetLayers });
  const listeners = () => getEventListeners(signal, 'abort').length;
  for await (const _ of explainStream(cam, frames(3), { signal })) t.is(listeners(), 1);
  t.is(listeners(), 0);
  for await (const _ of explainStream(cam, frames(3), { signal })) break;
  t.is(listeners(), 0);
});

test('what the source throws comes through', async (t) => {
  async function* broken() {
    yield frame(1);
    throw new Error('the camera is gone');
  }
  const cam = new GradCAM({ model, targetLayers });
  await t.throwsAsync(
    async () => {
      for await (const _ of explainStream(cam, broken()));
    },
    { message: 'the camera is gone' },
  );
});

test('arguments are checked at the call', (t) => {
  const cam = new GradCAM({ model, targetLayers });
  const wrong = (source: unknown, options?: object) => () => explainStream(cam, source as Tensor[], options);
  t.throws(wrong(3), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(wrong('cat.jpg'), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(wrong(null), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(wrong([], { concurrency: 0 }), { code: 'ERR_OUT_OF_RANGE' });
  t.throws(wrong([], { errors: 'ignore' }), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(wrong([], { prepare: 3 }), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(wrong([], { onProgress: () => {} }), { code: 'ERR_UNKNOWN_OPTION' });
  t.throws(() => explainStream({} as GradCAM, []), { code: 'ERR_INVALID_ARG_TYPE' });
});
