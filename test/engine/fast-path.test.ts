import { basename } from 'node:path';
import test from 'ava';
import {
  AblationCAM,
  compareMethods,
  EigenCAM,
  EigenGradCAM,
  GradCAM,
  LayerCAM,
  loadModel,
  type Model,
  ScoreCAM,
  setThreads,
  Tensor,
  threads,
} from 'node-gradcam';
import { liteModel, maxDifference, noise } from '../helpers/fixtures.js';
import { asCloseAs, yardstick } from '../helpers/float64-result.js';
import { fixturePath } from '../helpers/root.js';
import { runScript } from '../helpers/run-script.js';

// The optimized path of a model of the usual size. tools/compare/large_models compares ten, and the plain path in float64,
// which is the yardstick here, with pytorch-grad-cam in float64.

setThreads({ intraOpThreads: 1 });

// Of 150 seeds those with no ReLU6 so near to 0 or 6 (3e-6 of a layer's spread) that rounding may take its other side: with
// one of the others in twenty, the fast path or the plain one does at '_blocks.2', and its map is 1e-4 or more off.
const images = [14, 61].flatMap((seed) => [...noise(3 * 128 * 128, seed)]);
const x = Tensor.from(Float32Array.from(images), [2, 3, 128, 128]);
const targets = [[281], [3]];
let model: Model;
test.before(async () => {
  model = await loadModel(liteModel);
});
test.after.always(() => model.dispose());

for (const targetLayers of ['_blocks.2', '_blocks.8._bn1', '_conv_head', ['_blocks.5', '_blocks.12']]) {
  test.serial(`the fast path is as near to float64 as the plain one: ${targetLayers}`, async (t) => {
    for (const Method of [GradCAM, LayerCAM, EigenGradCAM]) {
      const fast = await new Method({ model, targetLayers }).explain(x, { targets });
      const plainly = await yardstick(
        liteModel,
        async (how) => (await new Method({ ...how, targetLayers }).explain(x, { targets })).heatmaps,
      );
      t.true(fast.maps.some(({ hasPositiveEvidence }) => hasPositiveEvidence));
      asCloseAs(t, Method.name, fast.heatmaps, plainly);
    }
  });
}

test.serial('forward() of the whole model is as near to float64 as the plain path', async (t) => {
  const plainly = await yardstick(
    liteModel,
    async (how) =>
      (await new EigenCAM({ ...how, targetLayers: '_blocks.2' }).explain(x, { targets })).outputs as Tensor,
  );
  for (let call = 0; call < 3; call++) asCloseAs(t, 'outputs', (await model.forward(x)) as Tensor, plainly);
});

test.serial('two executors may run forward() of one model at once', async (t) => {
  const before = threads();
  t.teardown(() => setThreads(before));
  const own = await loadModel(liteModel);
  t.teardown(() => own.dispose());
  const alone = ((await own.forward(x)) as Tensor).toTypedArray() as Float32Array;
  setThreads({ executors: 2, intraOpThreads: 1 });
  const together = await Promise.all(Array.from({ length: 8 }, () => own.forward(x)));
  for (const outputs of together) t.true(maxDifference((outputs as Tensor).toTypedArray(), alone) < 1e-4);
  // Its plan is none of a layer, and its weights are packed once.
  t.is(own.stats().plans, 0);
  const { packedBytes, weightBytes } = own.stats().memory;
  t.true(packedBytes > 0 && packedBytes < 1.5 * weightBytes, `${packedBytes} of ${weightBytes}`);
  await new EigenCAM({ model: own, targetLayers: '_blocks.2' }).explain(x, { targets });
  t.is(own.stats().plans, 1);
  t.is(own.stats().memory.packedBytes, packedBytes);
});

for (const targetLayers of ['_blocks.2', '_blocks.12']) {
  test.serial(`without gradients the tail is optimised, too: ${targetLayers}`, async (t) => {
    for (const Method of [EigenCAM, AblationCAM, ScoreCAM]) {
      const plainly = await yardstick(
        liteModel,
        async (how) => (await new Method({ ...how, targetLayers }).explain(x, { targets })).heatmaps,
      );
      const cam = new Method({ model, targetLayers });
      asCloseAs(t, Method.name, (await cam.explain(x, { targets })).heatmaps, plainly);
    }
  });
}

test.serial('methods with and without gradients in one call give what they give alone', async (t) => {
  const options = { model, targetLayers: '_blocks.5' };
  const alone = { gradcam: GradCAM, ablationcam: AblationCAM, scorecam: ScoreCAM } as const;
  const methods = Object.keys(alone) as (keyof typeof alone)[];
  const together = await compareMethods({ ...options, methods }, x, { targets });
  for (const name of methods) {
    const { heatmaps } = await new alone[name](options).explain(x, { targets });
    const found = together.get(name)?.heatmaps as Tensor;
    t.true(maxDifference(found.toTypedArray(), heatmaps.toTypedArray() as Float32Array) < 1e-4, name);
  }
});

// With SSE 4.1 oneDNN reads the weights of a volume's gradient in an order that it does not keep them in.
const isSse = process.env.ONEDNN_MAX_CPU_ISA === 'SSE41';

// With AVX2 the order that oneDNN wants of these models' weights depends on the number of images.
for (const isa of ['the best', 'AVX2']) {
  for (const { path, layer, shape, convolutions } of [
    { path: liteModel, layer: '_conv_head', shape: [3, 224, 224], convolutions: 40 },
    // 12, of which those behind the layer are walked back through.
    { path: fixturePath('fusions/residuals-1d.pt'), layer: 'strided', shape: [3, 96], convolutions: 12 + 8 },
    {
      path: fixturePath('fusions/residuals-3d.pt'),
      layer: 'grouped',
      shape: [3, 9, 24, 24],
      convolutions: 12 + 6,
    },
  ]) {
    if (isSse && isa === 'the best' && shape.length === 4) continue;
    test(`in a steady call oneDNN puts no weights into another order, whatever the batch: ${basename(path)}, ${isa}`, async (t) => {
      const limited = isa === 'AVX2' ? { ONEDNN_MAX_CPU_ISA: 'AVX2', ATEN_CPU_CAPABILITY: 'avx2' } : {};
      const { code, stdout, stderr } = await runScript(
        `
      import { GradCAM, loadModel, setThreads, Tensor } from 'node-gradcam';
      setThreads({ intraOpThreads: 2 });
      const model = await loadModel(${JSON.stringify(path)});
      const cam = new GradCAM({ model, targetLayers: ${JSON.stringify(layer)} });
      const shape = ${JSON.stringify(shape)};
      const inputs = [1, 3, 8].map((count) => {
        const values = new Float32Array(shape.reduce((all, size) => all * size, count));
        return Tensor.from(values.map((_, index) => Math.sin(index)), [count, ...shape]);
      });
      for (let round = 0; round < 3; round++) {
        for (const input of inputs) (await cam.explain(input, { targets: 3 })).dispose();
        console.log('round', round);
      }
    `,
        { ...limited, DNNL_VERBOSE: '1' },
      );
      t.is(code, 0, stderr);
      const steady = stdout.slice(stdout.indexOf('round 1'), stdout.indexOf('round 2'));
      const primitives = steady.split('\n').filter((line) => line.startsWith('onednn_verbose'));
      t.true(
        primitives.filter((line) => /,(de)?convolution,/.test(line)).length >= 3 * convolutions,
        steady.slice(0, 2000),
      );
      t.deepEqual(
        primitives.filter((line) => line.includes(',reorder,')),
        [],
      );
    });
  }
}
