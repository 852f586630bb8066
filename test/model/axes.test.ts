import test from 'ava';
import {
  FullGrad,
  GradCAM,
  type GradCamError,
  loadModel,
  type ReshapeTransform,
  ScoreCAM,
} from 'node-gradcam';
import { readJson } from '../helpers/fixtures.js';
import { closeToFloat64, ways } from '../helpers/float64-result.js';
import { fixturePath } from '../helpers/root.js';
import { sharedModel } from '../helpers/shared-models.js';
import { type StoredValues, tensorOf } from '../helpers/stored-values.js';

// Networks whose places do not lie where a picture's lie: tokens in the order of mask units, video with its frames first,
// frames as a batch inside the model. Values by plain autograd in double precision: tools/fixtures/networks/axes.py.

interface AxesCase {
  readonly name: string;
  readonly layer: string;
  readonly input: string;
  readonly reshape: ReshapeTransform | null;
  readonly category?: number;
  readonly maps?: StoredValues;
  readonly referenceError?: number;
}

const { inputs, cases } = readJson<{
  inputs: Readonly<Record<string, StoredValues>>;
  cases: readonly AxesCase[];
}>('axes/golden.json');
const inputOf = (kind: string) => tensorOf(inputs[kind] as StoredValues);
const pathOf = (name: string) => fixturePath(`axes/${name}.pt`);
const optionsOf = ({ layer, reshape }: AxesCase) => ({
  targetLayers: layer,
  ...(reshape ? { reshapeTransform: reshape } : {}),
});

for (const golden of cases) {
  const { maps, category = 0, referenceError = 0 } = golden;
  if (!maps) continue;
  for (const { optimize, dtype } of ways) {
    test(`${golden.name}, ${golden.layer}, optimize ${optimize}, ${dtype}`, async (t) => {
      const model = await sharedModel(pathOf(golden.name), dtype);
      const cam = new GradCAM({ model, optimize, ...optionsOf(golden) });
      const { heatmaps } = await cam.explain(inputOf(golden.input), { targets: category });
      t.deepEqual([...heatmaps.shape], [...maps.shape]);
      closeToFloat64(t, 'map', heatmaps, maps.values, { referenceError, dtype });
    });
  }
}

const caseOf = (name: string) => cases.find((each) => each.name === name) as AxesCase;

for (const [name, count] of [
  ['frames-as-batch', 6],
  ['mirrors', 2],
] as const) {
  test(`${name}: several maps for each image are refused`, async (t) => {
    const golden = caseOf(name);
    const model = await sharedModel(pathOf(name));
    const cam = new GradCAM({ model, ...optionsOf(golden) });
    const error = await t.throwsAsync<GradCamError>(cam.explain(inputOf(golden.input), { targets: 0 }));
    t.is(error?.code, 'ERR_LAYER_OUTPUT');
    t.regex(error?.message ?? '', new RegExp(`${count} maps for each image`));
  });
}

test('a grid that is not that of the mask units is refused', async (t) => {
  const golden = caseOf('mask-units');
  const model = await sharedModel(pathOf('mask-units'));
  for (const reshapeTransform of [
    { kind: 'tokens', grid: [12, 16] },
    { kind: 'tokens', prefixTokens: 1 },
    { kind: 'tokens', prefixTokens: 1000 },
  ] as const) {
    const cam = new GradCAM({ model, targetLayers: golden.layer, reshapeTransform });
    await t.throwsAsync(cam.explain(inputOf(golden.input), { targets: 0 }), { code: 'ERR_LAYER_OUTPUT' });
  }
  // Layers of one order only are averaged.
  const both = new GradCAM({ model, targetLayers: ['first', 'second'], reshapeTransform: 'tokens' });
  t.deepEqual([...(await both.explain(inputOf(golden.input), { targets: 0 })).heatmaps.shape], [2, 32, 24]);
});

test('of video, methods that lay maps over the input find its axes, and the suggested layer does', async (t) => {
  const golden = caseOf('video');
  await using model = await loadModel(pathOf('video'));
  const options = { model, ...optionsOf(golden) };
  for (const cam of [new ScoreCAM(options), new FullGrad({ model }), new GradCAM({ model })]) {
    const { heatmaps } = await cam.explain(inputOf('video'), { targets: 0 });
    t.deepEqual([...heatmaps.shape], [2, 6, 12, 16]);
  }
});
