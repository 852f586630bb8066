import test from 'ava';
import { EigenGradCAM, GradCAM, LayerCAM, loadModel, type Model, setThreads, Tensor } from 'node-gradcam';
import { liteModel, noise } from '../helpers/fixtures.js';
import { asCloseAs, yardstick } from '../helpers/float64-result.js';

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
