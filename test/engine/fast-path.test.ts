import test from 'ava';
import { EigenGradCAM, GradCAM, LayerCAM, loadModel, type Model, setThreads, Tensor } from 'node-gradcam';
import { liteModel, noise } from '../helpers/fixtures.js';
import { asCloseAs, yardstick } from '../helpers/float64-result.js';
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

// With AVX2 the order that oneDNN wants of this model's weights depends on the number of images.
for (const isa of ['the best', 'AVX2']) {
  test(`in a steady call oneDNN puts no weights into another order, whatever the batch: ${isa}`, async (t) => {
    const limited = isa === 'AVX2' ? { ONEDNN_MAX_CPU_ISA: 'AVX2', ATEN_CPU_CAPABILITY: 'avx2' } : {};
    const { code, stdout, stderr } = await runScript(
      `
      import { GradCAM, loadModel, setThreads, Tensor } from 'node-gradcam';
      setThreads({ intraOpThreads: 2 });
      const model = await loadModel(${JSON.stringify(liteModel)});
      const cam = new GradCAM({ model, targetLayers: '_conv_head' });
      const inputs = [1, 3, 8].map((count) =>
        Tensor.from(new Float32Array(count * 3 * 224 * 224).map((_, index) => Math.sin(index)), [count, 3, 224, 224]),
      );
      for (let round = 0; round < 3; round++) {
        for (const input of inputs) (await cam.explain(input, { targets: 281 })).dispose();
        console.log('round', round);
      }
    `,
      { ...limited, DNNL_VERBOSE: '1' },
    );
    t.is(code, 0, stderr);
    const steady = stdout.slice(stdout.indexOf('round 1'), stdout.indexOf('round 2'));
    const primitives = steady.split('\n').filter((line) => line.startsWith('onednn_verbose'));
    t.true(
      primitives.filter((line) => line.includes(',convolution,')).length >= 3 * 40,
      steady.slice(0, 2000),
    );
    t.deepEqual(
      primitives.filter((line) => line.includes(',reorder,')),
      [],
    );
  });
}
