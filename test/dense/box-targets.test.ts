import test from 'ava';
import {
  AblationCAM,
  EigenCAM,
  FasterRCNNBoxScoreTarget,
  GradCAM,
  type GradCamError,
  Saliency,
} from 'node-gradcam';
import { readJson } from '../helpers/fixtures.js';
import { closeToFloat64, ways } from '../helpers/float64-result.js';
import { fixturePath } from '../helpers/root.js';
import { sharedModel } from '../helpers/shared-models.js';
import { type StoredValues, tensorOf } from '../helpers/stored-values.js';

// Box targets on a tiny detector: which detection is the wanted one, whatever rounding moved it. Values by plain autograd in
// double precision: tools/fixtures/networks/box_targets.py.

const { input, cases } = readJson<{
  input: StoredValues;
  cases: readonly {
    readonly box: number;
    readonly moved: readonly number[];
    readonly wanted: readonly number[];
    readonly label: number;
    readonly maps: StoredValues;
    readonly score: number;
    readonly referenceError: { readonly maps: number; readonly score: number };
  }[];
}>('box-targets/golden.json');
const path = fixturePath('box-targets/finds.pt');
const image = () => tensorOf(input);

for (const { box, moved, wanted, label, maps, score, referenceError } of cases) {
  for (const { optimize, dtype } of ways) {
    test(`detection ${box}, moved by [${moved}], optimize ${optimize}, ${dtype}`, async (t) => {
      const model = await sharedModel(path, dtype);
      const targets = new FasterRCNNBoxScoreTarget([label], [wanted]);
      const cam = new GradCAM({ model, targetLayers: 'conv', optimize });
      const explanation = await cam.explain(image(), { targets, upsample: false });
      closeToFloat64(t, 'map', explanation.heatmaps, maps.values, {
        referenceError: referenceError.maps,
        dtype,
      });
      // The wanted box is float32, which moves an overlap with a detection in float64.
      const scores = [explanation.maps[0]?.score ?? 0];
      closeToFloat64(t, 'score', scores, [score], { referenceError: referenceError.score });
    });
  }
}

const elsewhere = {
  'a box without a match': [
    [3],
    [[12, 12, 15, 15]],
    /No detection matches box 0 \(12, 12, 15, 15, label 3\).*IoU\) of 0\.0\d+ and label 7/,
  ],
  'the wrong label': [[4], [cases[0]?.wanted ?? []], /label 4\).*IoU\) of 1 and label 3/],
  'two boxes, neither': [
    [4, 3],
    [
      [0, 0, 1, 1],
      [12, 12, 15, 15],
    ],
    /No detection matches box 0 \(0, 0, 1, 1/,
  ],
} as const;
for (const [what, [labels, boxes, message]] of Object.entries(elsewhere)) {
  test(`EXPECTED FAILURE - ${what}`, async (t) => {
    const model = await sharedModel(path);
    const targets = new FasterRCNNBoxScoreTarget(labels, boxes);
    const options = { model, targetLayers: 'conv' };
    for (const cam of [
      new GradCAM(options),
      new EigenCAM(options),
      new AblationCAM(options),
      new Saliency({ model }),
    ]) {
      const error = await t.throwsAsync<GradCamError>(
        'attribute' in cam ? cam.attribute(image(), { targets }) : cam.explain(image(), { targets }),
      );
      t.is(error?.code, 'ERR_NO_DETECTION');
      t.regex(error?.message ?? '', message);
    }
  });
}

test('of several boxes, those that match count', async (t) => {
  const model = await sharedModel(path);
  const [small] = cases;
  const both = new FasterRCNNBoxScoreTarget([9, small?.label ?? 0], [[0, 0, 1, 1], small?.wanted ?? []]);
  const { maps } = await new GradCAM({ model, targetLayers: 'conv' }).explain(image(), { targets: both });
  closeToFloat64(t, 'score', [maps[0]?.score ?? 0], [small?.score ?? 0], { referenceError: 1e-6 });
});
