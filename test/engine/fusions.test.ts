import test from 'ava';
import { describePlan, GradCAM, type Model, ShapleyCAM, type Tensor } from 'node-gradcam';
import { maxDifference } from '../helpers/fixtures.js';
import { closeToFloat64, ways } from '../helpers/float64-result.js';
import { fusionBatch, fusionCases, fusionSecond } from '../helpers/fusion-cases.js';
import { fixturePath } from '../helpers/root.js';
import { sharedModel } from '../helpers/shared-models.js';
import type { StoredValues } from '../helpers/stored-values.js';

// What the optimized plan joins, before the layer and behind it, against plain autograd in double precision:
// tools/fixtures/networks/fusions.py.

const images = fusionBatch(2);
const rowOf = ({ values }: StoredValues, row: number) =>
  values.slice((values.length / 3) * row, (values.length / 3) * (row + 1));

for (const { name, axes, layer, category, maps, outputs, referenceError } of fusionCases) {
  for (const { optimize, dtype } of ways) {
    test(`${name} at ${layer}, optimize ${optimize}, ${dtype}`, async (t) => {
      const model: Model = await sharedModel(fixturePath(`fusions/${name}.pt`), dtype);
      const cam = new GradCAM({ model, optimize, targetLayers: layer });
      const options = { targets: category, upsample: false };
      for (let call = 0; call < 3; call++) {
        // Weights are put into oneDNN's order when a size comes again.
        for (const [given, ofMaps, ofOutputs] of [
          [fusionBatch(axes), maps.values, outputs.values],
          [fusionSecond(axes), rowOf(maps, 1), rowOf(outputs, 1)],
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

const planOf = async (name: string, layer: string) =>
  await describePlan(await sharedModel(fixturePath(`fusions/${name}.pt`)), layer);

test('squeeze-and-excitation blocks are one operation each, and take the memory of maps that nobody reads again', async (t) => {
  const { graph } = (await planOf('excited', 'last')).prefix;
  t.is(graph.match(/squeeze_excitation\(/g)?.length, 3);
  t.notRegex(graph, /adaptive_avg_pool2d|aten::mul/);
});

for (const axes of ['', '-1d', '-3d']) {
  test(`behind the layer convolutions with BatchNorms, additions and ReLUs are one operation each, and linear layers: residuals${axes}`, async (t) => {
    const { tail, foldedBatchNorms } = await planOf(`residuals${axes}`, 'stem');
    const count = (operation: RegExp) => tail.graph.match(operation)?.length ?? 0;
    const asWritten = axes === '-3d' ? 1 : 0; // of volumes in groups, with its ReLU and addition
    // Two of each of four blocks, a projection, and two behind them.
    t.is(count(/recorded_convolution\(/g), 4 * 2 + 1 + 2 - asWritten);
    t.is(count(/recorded_linear\(/g), 2);
    t.is(foldedBatchNorms, 4 * 2 + 1);
    t.notRegex(tail.graph, /aten::(batch_norm|linear)\b/);
    t.is(count(/aten::conv[123]d\(/g), asWritten);
    t.is(count(/aten::add\(/g), asWritten);
    t.is(count(/aten::relu\(/g), 1 + asWritten); // behind the linear layer
  });

  test(`a sum takes the memory of a skip connection that ends there, and of no other: skips${axes}`, async (t) => {
    const { graph } = (await planOf(`skips${axes}`, 'last')).prefix;
    // Behind `end` and behind `later`, whose sum with it is the last one; not behind `own` and `again`.
    t.is(graph.match(/fused_convolution_in_place\(/g)?.length, 2);
    t.is(graph.match(/fused_convolution\(/g)?.length, 4); // stem, own, again, last
    const residuals = (await planOf(`residuals${axes}`, 'final')).prefix.graph;
    t.is(residuals.match(/fused_convolution_in_place\(/g)?.length, 4);
  });
}

test('a plan of second derivatives has none of it behind the layer', async (t) => {
  const model = await sharedModel(fixturePath('fusions/residuals.pt'));
  const { heatmaps } = await new ShapleyCAM({ model, targetLayers: 'stem' }).explain(images);
  const plainly = await new ShapleyCAM({ model, targetLayers: 'stem', optimize: false }).explain(images);
  t.true(maxDifference(heatmaps.toTypedArray(), plainly.heatmaps.toTypedArray() as Float32Array) < 1e-5);
});

// Additions, activations and factors inside of convolutions and products, before the layer and behind it: `top` is a
// convolution, and the head a product.
for (const [name, layer, inside] of [
  ['tokens', 'top', { fusedConvolutions: 2, fusedLinears: 7, fusedOperations: 3 + 3 + 1 }],
  // What a hook is given must exist: the second product as its layer gives it, the third without its factor.
  ['tokens', 'body.second.3', { fusedConvolutions: 2, fusedLinears: 7, fusedOperations: 1 + 2 + 1 }],
  ['like-addition', 'top', { fusedConvolutions: 2, fusedLinears: 5, fusedOperations: 0 }],
  ['convnext', 'top', { fusedConvolutions: 5, fusedLinears: 7, fusedOperations: 3 + 3 + 3 }],
  ['words', 'last', { fusedConvolutions: 3, foldedBatchNorms: 1, fusedOperations: 1 + 1 }],
  ['words-traced', 'last', { fusedConvolutions: 3, foldedBatchNorms: 1, fusedOperations: 1 + 1 }],
  ['viewed', 'last', { fusedConvolutions: 3, fusedOperations: 2 }],
  ...(['1d', '3d'] as const).flatMap(
    (axes) =>
      [
        [`words-${axes}`, 'last', { fusedConvolutions: 3, foldedBatchNorms: 1, fusedOperations: 1 + 1 }],
        [
          `words-traced-${axes}`,
          'last',
          { fusedConvolutions: 3, foldedBatchNorms: 1, fusedOperations: 1 + 1 },
        ],
        [`dense-${axes}`, 'top', { fusedBatchNorms: 5, foldedBatchNorms: 2, fusedConvolutions: 7 }],
        [`residuals-traced-${axes}`, 'depthwise', { fusedConvolutions: 12, foldedBatchNorms: 9 }],
        [`viewed-${axes}`, 'last', { fusedConvolutions: 3, fusedOperations: 2 }],
        [`viewed-traced-${axes}`, 'last', { fusedConvolutions: 3, fusedOperations: 2 }],
      ] as const,
  ),
  ['dense', 'top', { fusedBatchNorms: 5, foldedBatchNorms: 2, fusedConvolutions: 7 }],
  ['like-layer-scale', 'top', { fusedConvolutions: 2, fusedLinears: 4, fusedOperations: 0 }],
] as const) {
  test(`what is inside of fused operations in front of ${layer} of ${name}`, async (t) => {
    const plan = await describePlan(await sharedModel(fixturePath(`fusions/${name}.pt`)), layer);
    t.like(plan, inside);
  });
}
