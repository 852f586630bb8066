import test from 'ava';
import { GradCAM, type Tensor } from 'node-gradcam';
import { readJson } from '../helpers/fixtures.js';
import { closeToFloat64, ways } from '../helpers/float64-result.js';
import { fixturePath } from '../helpers/root.js';
import { sharedModel } from '../helpers/shared-models.js';
import { type StoredValues, tensorOf } from '../helpers/stored-values.js';

// Small variants of known architectures, explained with default options: the layer that a practitioner would take, and its
// map by plain autograd. tools/fixtures/architectures/suggestions.py; at their own size: npm run compare:models.

interface SuggestionCase {
  readonly name: string;
  readonly layer: string;
  readonly output: number | null;
  readonly input: StoredValues;
  readonly maps: StoredValues;
  readonly scores: readonly number[];
  readonly referenceError: { readonly maps: number; readonly scores: number };
}

const { cases } = readJson<{ cases: readonly SuggestionCase[] }>('suggestions/golden.json');
const pathOf = (name: string) => fixturePath(`suggestions/${name}.pt`);

for (const golden of cases) {
  for (const { optimize, dtype } of ways) {
    test(`${golden.name}: its own layer and reshape transform, optimize ${optimize}, ${dtype}`, async (t) => {
      const model = await sharedModel(pathOf(golden.name), dtype);
      const input = tensorOf(golden.input);
      t.is((await model.suggestLayer(input)).path, golden.layer);
      const output = golden.output === null ? {} : { output: golden.output };
      const cam = new GradCAM({ model, optimize, ...output });
      // Of detections, [queries, classes], the first query's.
      const targets = (scores: Tensor) =>
        (scores.shape.length > 1 ? scores.select(0, 0) : scores).select(0, 1);
      const { heatmaps, scores } = await cam.explain(input, { targets, upsample: false });
      t.deepEqual([...heatmaps.shape], [...golden.maps.shape]);
      closeToFloat64(t, 'map', heatmaps, golden.maps.values, {
        referenceError: golden.referenceError.maps,
        dtype,
      });
      closeToFloat64(t, 'scores', scores, golden.scores, {
        referenceError: golden.referenceError.scores,
        dtype,
      });
    });
  }
}

const reshapeOf = async (name: string) => {
  const { input } = cases.find((each) => each.name === name) as SuggestionCase;
  const model = await sharedModel(pathOf(name));
  const { reshapeTransform } = await model.suggestLayer(tensorOf(input));
  return reshapeTransform;
};

test('the grid is told where the shape of the image would give another', async (t) => {
  t.deepEqual(await reshapeOf('tall-patches'), { kind: 'tokens', prefixTokens: 1, grid: [4, 12] });
  t.deepEqual(await reshapeOf('mvit'), { kind: 'tokens', prefixTokens: 1, grid: [2, 4, 6] });
  t.deepEqual(await reshapeOf('mixer'), { kind: 'tokens', prefixTokens: 0 });
  t.deepEqual(await reshapeOf('sequencer'), { kind: 'nhwc' });
});
