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
  loadModel,
  type Model,
  pointingGame,
  roadCombined,
  roadLeastRelevantFirst,
  roadLeastRelevantFirstAverage,
  roadMostRelevantFirst,
  roadMostRelevantFirstAverage,
  Tensor,
} from 'node-gradcam';
import { fixturePath, maxDifference, readArray, readJson, type StoredArray } from './helpers/fixtures.js';

// Values from pytorch-grad-cam's own metrics, or by hand where the case says so: tools/family_metrics.py.
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
  readonly tolerance: number;
}

const { cases } = readJson<{ cases: readonly MetricCase[] }>('family/golden.json');
const tensorOf = (stored: StoredArray) =>
  Tensor.from(Float32Array.from(readArray({ ...stored, file: `family/${stored.file}` })), stored.shape);

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
    await using model = await loadModel(fixturePath(`family/${golden.model}`));
    const values = await metric(model, tensorOf(golden.input), tensorOf(golden.cams), {
      ...golden.options,
      targets: probability(golden),
    });
    const difference = maxDifference(Float64Array.from(values), golden.expected.values as number[]);
    t.true(difference <= golden.tolerance, `largest difference ${difference}: ${values}`);
  });
}

for (const golden of cases.filter(({ method }) => method === 'ARCC')) {
  test(`${golden.name}: ${golden.description}`, async (t) => {
    await using model = await loadModel(fixturePath(`family/${golden.model}`));
    const cam = new GradCAM({ model, targetLayers: golden.targetLayers as string[] });
    const [images, heatmaps, targets] = [tensorOf(golden.input), tensorOf(golden.cams), probability(golden)];
    const close = (found: number[], expected: unknown) =>
      t.true(
        maxDifference(Float64Array.from(found), expected as number[]) <= 2e-4,
        `${found} is not ${expected}`,
      );
    close(complexity(heatmaps), golden.expected.complexity);
    close(await coherency(cam, images, heatmaps, { targets }), golden.expected.coherency);
    close(await arcc(model, cam, images, heatmaps, { targets, noise: 0 }), golden.expected.values);
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
  await using model = await loadModel(fixturePath(`family/${road?.model}`));
  const [input, heatmaps] = [tensorOf(road?.input as StoredArray), tensorOf(road?.cams as StoredArray)];
  const run = (seed: number) =>
    roadMostRelevantFirst(model, input, heatmaps, { noise: 0.5, seed, targets: 1 });
  t.deepEqual(await run(3), await run(3));
  t.notDeepEqual(await run(3), await run(4));
});

test('a map that is flat, or zero nearly everywhere, still removes the share it should', async (t) => {
  await using model = await loadModel(fixturePath(`family/${road?.model}`));
  const input = tensorOf(road?.input as StoredArray);
  const [images = 1, , height = 1, width = 1] = input.shape;
  const flat = Tensor.from(new Float32Array(images * height * width), [images, height, width]);
  for (const percentile of [0, 50, 80, 100, 'auto'] as const) {
    const values = await roadMostRelevantFirst(model, input, flat, { percentile, targets: 0 });
    t.true(values.every(Number.isFinite), `${percentile}: ${values}`);
  }
});

test('heatmaps that do not belong to the images are refused, and wrong options too', async (t) => {
  await using model = await loadModel(fixturePath(`family/${road?.model}`));
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
