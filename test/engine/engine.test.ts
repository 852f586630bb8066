import test from 'ava';
import { describePlan, GradCAM, loadModel, setThreads, Tensor, type TensorData, threads } from 'node-gradcam';
import { native } from '../../lib/addon/addon.js';
import { liteModel, noise, sameBits } from '../helpers/fixtures.js';
import { holdExecutor } from '../helpers/hold-executor.js';
import { fixturePath } from '../helpers/root.js';
import { until } from '../helpers/until.js';

const input = (count: number, height = 224, width = height) =>
  Tensor.from(noise(count * 3 * height * width), [count, 3, height, width]);

test('a plan tells what was folded and fused, and where the cut is', async (t) => {
  await using model = await loadModel(liteModel);
  const plan = await describePlan(model, '_conv_head');
  t.is(plan.fusedConvolutions, 49);
  t.true(plan.foldedBatchNorms >= 48);
  t.true(plan.fusedOperations > 30);
  t.true(plan.prefix.nodes > plan.tail.nodes);
  t.is(plan.crossingValues, 1);
  t.regex(plan.tail.graph, /forward_hook/);
  const plain = await describePlan(model, '_conv_head', { optimize: false });
  t.is(plain.prefix.nodes, 0);
  t.is(plain.fusedConvolutions, 0);
  await t.throwsAsync(describePlan(model, '_conv_haed'), { code: 'ERR_UNKNOWN_LAYER' });
});

test('same input, same bits: from call to call, in any order of sizes, with callers beside', async (t) => {
  await using model = await loadModel(liteModel);
  const cam = new GradCAM({ model, targetLayers: '_conv_head' });
  const sizes = [160, 192, 224, 256, 288, 320];
  const inputs = sizes.map((size) => input(1, size));
  const explain = async (x: Tensor) => (await cam.explain(x, { targets: 3 })).heatmaps.toTypedArray();
  const first: TensorData[] = [];
  for (const x of inputs) first.push(await explain(x));
  for (let round = 0; round < 3; round++) {
    for (const [index, x] of [...inputs.entries()].reverse())
      t.true(sameBits(await explain(x), first[index] as TensorData));
  }
  const counts = threads();
  setThreads({ executors: 4 });
  const crowd = await Promise.all(
    Array.from({ length: 24 }, (_, index) => explain(inputs[index % 6] as Tensor)),
  );
  setThreads(counts);
  for (const [index, heatmaps] of crowd.entries()) t.true(sameBits(heatmaps, first[index % 6] as TensorData));
});

test('explains with different layers run at once on one model', async (t) => {
  await using model = await loadModel(liteModel);
  const layers = ['_blocks.4', '_blocks.10', '_conv_head', '_blocks.15'];
  const x = input(1);
  const explain = (targetLayers: string) =>
    new GradCAM({ model, targetLayers })
      .explain(x, { targets: 7 })
      .then(({ heatmaps }) => heatmaps.toTypedArray());
  const alone: TensorData[] = [];
  for (const layer of layers) alone.push(await explain(layer));
  const counts = threads();
  setThreads({ executors: 3, intraOpThreads: counts.intraOpThreads });
  t.is(threads().executors, 3);
  const together = await Promise.all([...layers, ...layers].map(explain));
  setThreads(counts);
  for (const [index, heatmaps] of together.entries())
    t.true(sameBits(heatmaps, alone[index % layers.length] as TensorData));
});

test('setThreads refuses what is no count', (t) => {
  const before = threads();
  for (const executors of [0, -1, 1.5, Number.NaN, 5000]) {
    t.throws(() => setThreads({ executors }), { code: 'ERR_OUT_OF_RANGE' });
  }
  t.throws(() => setThreads({ executor: 2 } as object), { code: 'ERR_UNKNOWN_OPTION' });
  t.deepEqual(threads(), before);
});

// Alone: other tests' explains would keep it busy.
test.serial('large tensors keep their memory between calls and give it back when idle', async (t) => {
  await using model = await loadModel(liteModel);
  const cam = new GradCAM({ model, targetLayers: '_conv_head' });
  await using other = await holdExecutor(2); // While one executor is busy, the process is not idle.
  using _ = await cam.explain(input(2));
  t.true(native().memory().cachedBytes > 1e6);
  await other.release();
  await until('the memory to be given back', () => native().memory().cachedBytes === 0);
  t.pass();
});

test("what one explain returns is its own: the next call's memory does not touch it", async (t) => {
  await using model = await loadModel(liteModel);
  const cam = new GradCAM({ model, targetLayers: '_conv_head' });
  const kept = await cam.explain(input(4), { targets: 1 });
  const before = kept.heatmaps.toTypedArray();
  for (let round = 0; round < 5; round++) (await cam.explain(input(4), { targets: round })).dispose();
  t.true(sameBits(kept.heatmaps.toTypedArray(), before));
});

test('a tail that writes in place to what the prefix made explains the same twice', async (t) => {
  await using model = await loadModel(fixturePath('add-in-place.pt'));
  const path = model.layers().find(({ type }) => type === 'BatchNorm2d' || type === 'Conv2d')?.path ?? '';
  const cam = new GradCAM({ model, targetLayers: path });
  const x = Tensor.from(noise(3 * 24 * 32), [1, 3, 24, 32]);
  const [first, second] = [await cam.explain(x), await cam.explain(x)];
  t.deepEqual(first.heatmaps.toTypedArray(), second.heatmaps.toTypedArray());
});
