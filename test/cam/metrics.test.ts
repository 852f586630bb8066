import test from 'ava';
import {
  arcc,
  ClassifierOutputSoftmaxTarget,
  coherency,
  complexity,
  confidenceChange,
  deletionAuc,
  dropInConfidence,
  GradCAM,
  increaseInConfidence,
  insertionAuc,
  type Model,
  pointingGame,
  roadCombined,
  roadLeastRelevantFirst,
  roadLeastRelevantFirstAverage,
  roadMostRelevantFirst,
  roadMostRelevantFirstAverage,
  setThreads,
  Tensor,
} from 'node-gradcam';
import { familyPath, tensorOf } from '../helpers/family.js';
import { readJson, type StoredArray } from '../helpers/fixtures.js';
import { closeToFloat64 } from '../helpers/float64-result.js';
import { sharedModel } from '../helpers/shared-models.js';

// Values from pytorch-grad-cam's own metrics, or by hand where the case says so, in double precision:
// tools/fixtures/family/metrics.py.
interface MetricCase {
  readonly name: string;
  readonly description: string;
  readonly group: string;
  readonly method: string;
  readonly model: string;
  readonly input: StoredArray;
  readonly cams: StoredArray;
  readonly targetLayers?: readonly string[];
  readonly targets: { kind: string; category: number }[][] | null;
  readonly options?: Readonly<Record<string, unknown>>;
  readonly expected: Readonly<Record<string, unknown>>;
  readonly referenceError: Readonly<Record<string, number>>;
}

// The models are so small that threads would only wait for each other.
setThreads({ intraOpThreads: 1 });

const { cases } = readJson<{ cases: readonly MetricCase[] }>('family/golden.json');

type Metric = (
  model: Model,
  input: Tensor,
  heatmaps: Tensor,
  options: Record<string, unknown>,
) => Promise<number[]>;
const metrics: Record<string, Metric> = {
  CamMultImageConfidenceChange: confidenceChange,
  DropInConfidence: dropInConfidence,
  IncreaseInConfidence: increaseInConfidence,
  ROADMostRelevantFirst: roadMostRelevantFirst,
  ROADLeastRelevantFirst: roadLeastRelevantFirst,
  ROADMostRelevantFirstAverage: roadMostRelevantFirstAverage,
  ROADLeastRelevantFirstAverage: roadLeastRelevantFirstAverage,
  ROADCombined: roadCombined,
  DeletionAUC: deletionAuc,
  InsertionAUC: insertionAuc,
};

const probability = (golden: MetricCase) =>
  (golden.targets ?? []).map((ofImage) =>
    ofImage.map(({ category }) => new ClassifierOutputSoftmaxTarget(category)),
  );

for (const golden of cases) {
  const metric = metrics[golden.method];
  // Noise that the original drew is not ours to draw again; targets with several values give no single figure.
  if (!metric || golden.options?.drawn || !golden.expected.values) continue;
  test(`${golden.name}: ${golden.description}`, async (t) => {
    for (const dtype of ['auto', 'float64'] as const) {
      const model = await sharedModel(familyPath(golden.model), dtype);
      const values = await metric(model, tensorOf(golden.input), tensorOf(golden.cams), {
        ...golden.options,
        targets: probability(golden),
      });
      closeToFloat64(t, dtype, values, golden.expected.values as number[], {
        referenceError: golden.referenceError.values ?? Number.NaN,
        dtype,
      });
    }
  });
}

for (const golden of cases.filter(({ method }) => method === 'ARCC')) {
  test(`${golden.name}: ${golden.description}`, async (t) => {
    for (const dtype of ['auto', 'float64'] as const) {
      const model = await sharedModel(familyPath(golden.model), dtype);
      const cam = new GradCAM({ model, targetLayers: golden.targetLayers as string[] });
      const [images, heatmaps, targets] = [
        tensorOf(golden.input),
        tensorOf(golden.cams),
        probability(golden),
      ];
      const close = (key: string, found: number[]) =>
        closeToFloat64(t, `${key}, ${dtype}`, found, golden.expected[key] as number[], {
          referenceError: golden.referenceError[key] ?? Number.NaN,
          dtype,
        });
      close('complexity', complexity(heatmaps));
      close('coherency', await coherency(cam, images, heatmaps, { targets }));
      close('values', await arcc(model, cam, images, heatmaps, { targets, noise: 0 }));
    }
  });
}

for (const golden of cases.filter(({ method }) => method === 'PointingGame')) {
  test(`${golden.name}: ${golden.description}`, (t) => {
    const boxes = golden.options?.boxes as number[][][];
    const hits = pointingGame(tensorOf(golden.cams), boxes, golden.options?.tolerance as number);
    t.deepEqual(hits, golden.expected.hits as boolean[]);
  });
}

const [road] = cases.filter(({ name }) => name === 'metric-road-most-80');

test('noise on imputed pixels is seeded', async (t) => {
  const model = await sharedModel(familyPath(road?.model ?? ''));
  const [input, heatmaps] = [tensorOf(road?.input as StoredArray), tensorOf(road?.cams as StoredArray)];
  const run = (seed: number) =>
    roadMostRelevantFirst(model, input, heatmaps, { noise: 0.5, seed, targets: 1 });
  t.deepEqual(await run(3), await run(3));
  t.notDeepEqual(await run(3), await run(4));
});

test('a map that is flat, or zero nearly everywhere, still removes the share it should', async (t) => {
  const model = await sharedModel(familyPath(road?.model ?? ''));
  const input = tensorOf(road?.input as StoredArray);
  const [images = 1, , height = 1, width = 1] = input.shape;
  const flat = Tensor.from(new Float32Array(images * height * width), [images, height, width]);
  for (const percentile of [0, 50, 80, 100, 'auto'] as const) {
    const values = await roadMostRelevantFirst(model, input, flat, { percentile, targets: 0 });
    t.true(values.every(Number.isFinite), `${percentile}: ${values}`);
  }
});

test('heatmaps that do not belong to the images are refused, and wrong options too', async (t) => {
  const model = await sharedModel(familyPath(road?.model ?? ''));
  const [input, heatmaps] = [tensorOf(road?.input as StoredArray), tensorOf(road?.cams as StoredArray)];
  await t.throwsAsync(confidenceChange(model, input, heatmaps.at(0)), { code: 'ERR_INPUT_SHAPE' });
  await t.throwsAsync(roadMostRelevantFirst(model, input, heatmaps, { percentile: 101 }), {
    code: 'ERR_OUT_OF_RANGE',
  });
  await t.throwsAsync(deletionAuc(model, input, heatmaps, { pixelsPerStep: 0 }), {
    code: 'ERR_OUT_OF_RANGE',
  });
  await t.throwsAsync(confidenceChange(model, input, heatmaps, { targets: [[0, 1]] }), {
    code: 'ERR_TARGET_COUNT',
  });
});
