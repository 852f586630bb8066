import test from 'ava';
import {
  FasterRCNNBoxScoreTarget,
  GradCAM,
  type GradCamError,
  loadModel,
  RawScoresOutputTarget,
  SemanticSegmentationTarget,
  type Tensor,
} from 'node-gradcam';
import { maxDifference, readJson } from '../helpers/fixtures.js';
import { fixturePath } from '../helpers/root.js';
import { type StoredValues, tensorOf } from '../helpers/stored-values.js';

// augSmooth and targets that know of places, or of ranks. Values by plain PyTorch in double precision:
// tools/fixtures/networks/corners.py.

interface Augmented {
  readonly input: StoredValues;
  readonly map: StoredValues;
}

const golden = readJson<{
  readonly segmentation: Augmented & { readonly mask: StoredValues };
  readonly detection: Augmented & { readonly box: StoredValues; readonly threshold: number };
  readonly rank: Augmented & { readonly class: number };
}>('corners/golden.json');
const pathOf = (name: string) => fixturePath(`corners/${name}.pt`);
const how = { augSmooth: true, upsample: false } as const;
const tolerance = 2e-5;

test('a mask is mirrored with the image', async (t) => {
  const { input, mask, map } = golden.segmentation;
  await using model = await loadModel(pathOf('segments'));
  const cam = new GradCAM({ model, targetLayers: 'body' });
  const maskTensor = tensorOf(mask);
  for (const targets of [
    new SemanticSegmentationTarget(1, maskTensor),
    (output: Tensor) => output.select(0, 1).mul(maskTensor).sum(),
  ]) {
    const { heatmaps } = await cam.explain(tensorOf(input), { targets, ...how });
    t.true(maxDifference(heatmaps.toTypedArray(), map.values) < tolerance);
  }
});

test('boxes are mirrored with the image', async (t) => {
  const { input, box, threshold, map } = golden.detection;
  await using model = await loadModel(pathOf('detects'));
  const targets = new FasterRCNNBoxScoreTarget([1], [box.values], threshold);
  const { heatmaps } = await new GradCAM({ model, targetLayers: 'body' }).explain(tensorOf(input), {
    targets,
    ...how,
  });
  t.true(maxDifference(heatmaps.toTypedArray(), map.values) < tolerance);
});

test('the predicted class is that of the image as it is, for every change of it', async (t) => {
  const { input, map, class: predicted } = golden.rank;
  await using model = await loadModel(pathOf('changes-its-mind'));
  const cam = new GradCAM({ model, targetLayers: 'body' });
  const { heatmaps, maps } = await cam.explain(tensorOf(input), how);
  t.is(maps[0]?.classIndex, predicted);
  t.true(maxDifference(heatmaps.toTypedArray(), map.values) < tolerance);
  // Whatever the order of the changes.
  const augSmooth = [
    { multiply: 1.1, flip: true },
    { multiply: 0.9, flip: true },
    { multiply: 1.1 },
    { flip: true },
    {},
    { multiply: 0.9 },
  ];
  const again = await cam.explain(tensorOf(input), { augSmooth, upsample: false });
  t.is(again.maps[0]?.classIndex, predicted);
  t.true(maxDifference(again.heatmaps.toTypedArray(), map.values) < tolerance);
});

test('what cannot be mirrored back is refused, and changes that do not mirror are not', async (t) => {
  const { input } = golden.detection;
  await using detector = await loadModel(pathOf('detects'));
  const cam = new GradCAM({ model: detector, targetLayers: 'body', output: [0, 'boxes'] });
  // The boxes of the first image, [1, 4]: a vector for each image, which has no places.
  await t.notThrowsAsync(cam.explain(tensorOf(input), { targets: new RawScoresOutputTarget(), ...how }));
  await using model = await loadModel(pathOf('gives-tokens'));
  const tokens = new GradCAM({ model: model, targetLayers: 'body' });
  const targets = (output: Tensor) => output.select(0, 2).sum();
  const failure = await t.throwsAsync<GradCamError>(
    tokens.explain(tensorOf(golden.segmentation.input), { targets, ...how }),
  );
  t.is(failure?.code, 'ERR_UNSUPPORTED');
  t.regex(failure?.message ?? '', /augSmooth/);
  await t.notThrowsAsync(
    tokens.explain(tensorOf(golden.segmentation.input), {
      targets,
      augSmooth: [{}, { multiply: 1.1 }],
      upsample: false,
    }),
  );
});
