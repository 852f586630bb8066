import test from 'ava';
import { describePlan, GradCAM, type Model, Tensor } from 'node-gradcam';
import { readJson } from '../helpers/fixtures.js';
import { closeToFloat64, ways } from '../helpers/float64-result.js';
import { fixturePath } from '../helpers/root.js';
import { sharedModel } from '../helpers/shared-models.js';
import { type StoredValues, tensorOf } from '../helpers/stored-values.js';

// What the optimized plan joins, before the layer and behind it, against plain autograd in double precision:
// tools/fixtures/networks/fusions.py.

interface FusionCase {
  readonly name: string;
  readonly layer: string;
  readonly category: number;
  readonly maps: StoredValues;
  readonly outputs: StoredValues;
  readonly referenceError: { readonly maps: number; readonly outputs: number };
}

const { cases, input } = readJson<{ cases: readonly FusionCase[]; input: StoredValues }>(
  'fusions/golden.json',
);
const images = tensorOf(input);
const ofImage = input.values.length / 3;
const second = Tensor.from(Float32Array.from(input.values.slice(ofImage, 2 * ofImage)), [
  1,
  ...input.shape.slice(1),
]);
const rowOf = ({ values }: StoredValues, row: number) =>
  values.slice((values.length / 3) * row, (values.length / 3) * (row + 1));

for (const { name, layer, category, maps, outputs, referenceError } of cases) {
  for (const { optimize, dtype } of ways) {
    test(`${name} at ${layer}, optimize ${optimize}, ${dtype}`, async (t) => {
      const model: Model = await sharedModel(fixturePath(`fusions/${name}.pt`), dtype);
      const cam = new GradCAM({ model, optimize, targetLayers: layer });
      const options = { targets: category, upsample: false };
      for (let call = 0; call < 3; call++) {
        // Weights are put into oneDNN's order when a size comes again.
        for (const [given, ofMaps, ofOutputs] of [
          [images, maps.values, outputs.values],
          [second, rowOf(maps, 1), rowOf(outputs, 1)],
        ] as const) {
          const explained = await cam.explain(given, options);
          closeToFloat64(t, 'map', explained.heatmaps, ofMaps, {
            referenceError: referenceError.maps,
            dtype,
          });
          closeToFloat64(t, 'outputs', explained.outputs as Tensor, ofOutputs, {
            referenceError: referenceError.outputs,
            dtype,
          });
        }
      }
    });
  }
}

const prefixOf = async (name: string, layer: string) => {
  const { prefix } = await describePlan(await sharedModel(fixturePath(`fusions/${name}.pt`)), layer);
  return prefix.graph;
};

test('squeeze-and-excitation blocks are one operation each, and take the memory of maps that nobody reads again', async (t) => {
  const graph = await prefixOf('excited', 'last');
  t.is(graph.match(/squeeze_excitation\(/g)?.length, 3);
  t.notRegex(graph, /adaptive_avg_pool2d|aten::mul/);
});
