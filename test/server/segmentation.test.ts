import test from 'ava';
import {
  asStored,
  type DenseAnswer,
  type DenseServer,
  denseGolden,
  startDescribed,
} from '../helpers/dense-server.js';
import { detectionCases, floatsOf as storedFloats } from '../helpers/detection-fixtures.js';
import { closeToFloat64 } from '../helpers/float64-result.js';
import { binaryInference, floatsOf, photo, readInference } from '../helpers/server.js';

// Segmentation models over all protocols: pytorch-grad-cam's maps of categories in the pixels that the model gives to them
// (tools/fixtures/architectures/detection.py), and of one channel autograd's (tools/fixtures/networks/dense_server.py).

const input = { width: 64, height: 48, ...asStored };
const segmenter = { task: 'segmentation', output: 'out', layer: 'backbone.layer4', input };
const labels = ['__background__', 'car', 'bus', 'cat'];
let dense: DenseServer;
test.before(async () => {
  dense = await startDescribed({
    deeplabv3: { file: 'detection/deeplabv3.pt', sidecar: { ...segmenter, labels } },
    fcn: { file: 'detection/fcn.pt', sidecar: segmenter },
    unsaid: { file: 'detection/fcn.pt', sidecar: { ...segmenter, output: undefined } },
    foreground: {
      file: 'dense-server/foreground.pt',
      sidecar: {
        task: 'segmentation',
        scores: 'sigmoid',
        layer: 'conv',
        labels: ['object'],
        input: { ...input, width: 20, height: 16 },
      },
    },
  });
});
test.after.always(async () => {
  await dense?.[Symbol.asyncDispose]();
});

const methods: Readonly<Record<string, string>> = {
  GradCAM: 'gradcam',
  HiResCAM: 'hirescam',
  SegEigenCAM: 'segeigencam',
  AblationCAM: 'ablationcam',
};

for (const golden of detectionCases.filter(({ masks }) => masks)) {
  test.serial(`V2: ${golden.name}, each image's own category`, async (t) => {
    const images = storedFloats(golden.input);
    const categories = golden.categories ?? [];
    const { body, headers } = binaryInference(
      {
        inputs: [
          { name: 'input', shape: golden.input.shape, datatype: 'FP32' },
          { name: 'class', shape: [categories.length], datatype: 'INT64' },
        ],
        parameters: { method: methods[golden.method] as string, binary_data_output: true },
      },
      images,
      BigInt64Array.from(categories, BigInt),
    );
    const name = golden.model.replace('.pt', '');
    const response = await dense.running.post(`/v2/models/${name}/infer`, body, headers);
    t.is(response.status, 200);
    const { outputs } = await readInference(response);
    const { heatmap, classes, images: owners } = outputs;
    t.deepEqual(heatmap?.shape, [...golden.heatmaps.shape]);
    closeToFloat64(t, golden.name, floatsOf(heatmap?.bytes ?? null), storedFloats(golden.heatmaps), {
      referenceError: golden.referenceError.heatmaps,
    });
    const integers = (bytes: Buffer | null | undefined) =>
      Array.from(new BigInt64Array(bytes?.buffer as ArrayBuffer), Number);
    t.deepEqual(integers(classes?.bytes), [...categories]);
    t.deepEqual(integers(owners?.bytes), [0, 1]);
    t.deepEqual(outputs.output?.shape, [2, 4, 48, 64]);
    t.false('boxes' in outputs);
  });
}

const [deeplab] = detectionCases.filter(({ name }) => name === 'deeplabv3-gradcam');
const half = () => {
  const { input: stored, masks } = deeplab as typeof deeplab & object;
  const values = storedFloats(stored);
  const image = values.subarray(0, values.length / 2);
  const mask = storedFloats(masks);
  const [, height = 0, width = 0] = masks?.shape ?? [];
  const area = height * width;
  const pixels = mask.subarray(0, area).reduce((sum, value) => sum + value, 0);
  return { image, share: pixels / area, rest: (area - pixels) / area };
};
/** `[C, H, W]` as JSON has it. */
const nested = (values: Float32Array, [channels, height, width]: readonly [number, number, number]) =>
  Array.from({ length: channels }, (_, channel) =>
    Array.from({ length: height }, (_unused, row) =>
      Array.from(values.subarray((channel * height + row) * width, (channel * height + row + 1) * width)),
    ),
  );

test.serial('V1: the categories that are there, and by default the largest but the background', async (t) => {
  const { image, share, rest } = half();
  const instance = { tensor: nested(image, [3, 48, 64]) };
  const response = await dense.running.post('/v1/models/deeplabv3:explain', {
    instances: [instance, { ...instance, class: ['__background__', 'CAT', 1] }],
  });
  t.is(response.status, 200);
  const { explanations } = (await response.json()) as { explanations: DenseAnswer[] };
  const [usual, asked] = explanations as [DenseAnswer, DenseAnswer];
  t.is(usual.task, 'segmentation');
  t.deepEqual(usual.top, []);
  t.is(usual.boxes, null);
  const present = new Map(usual.categories?.map((each) => [each.class, each]));
  t.deepEqual([...present.keys()].sort(), [...(deeplab?.present?.[0] ?? [])]);
  t.deepEqual(present.get(3), { class: 3, label: 'cat', share });
  t.is(present.get(0)?.share, rest);
  const [map] = usual.maps;
  t.like(map, { class: 3, label: 'cat', share, probability: null, box: null, has_positive_evidence: true });
  const expected = storedFloats(deeplab?.heatmaps).subarray(0, 48 * 64);
  closeToFloat64(t, 'the default', Float32Array.from(map?.heatmap.flat() ?? []), expected, {
    referenceError: deeplab?.referenceError.heatmaps ?? 0,
  });
  t.deepEqual(
    asked.maps.map(({ class: category, share: covered, has_positive_evidence: hasEvidence }) => [
      category,
      covered,
      hasEvidence && category === 1,
    ]),
    [
      [0, rest, false],
      [3, share, false],
      [1, 0, false],
    ],
  );
});

test.serial('one channel: the foreground, where its sigmoid is above a half', async (t) => {
  const { segmentation: golden } = denseGolden;
  const image = Float32Array.from(golden.input.values);
  const response = await dense.running.post('/v1/models/foreground:explain', {
    instances: [nested(image, [3, 16, 20])],
    upsample: false,
  });
  t.is(response.status, 200);
  const { explanations } = (await response.json()) as { explanations: DenseAnswer[] };
  const [map] = explanations[0]?.maps ?? [];
  t.like(map, { class: 0, label: 'object', share: golden.share });
  closeToFloat64(t, 'map', Float32Array.from(map?.heatmap.flat() ?? []), golden.maps.values, {
    referenceError: golden.referenceError.maps,
  });
  closeToFloat64(t, 'score', [map?.score ?? 0], [golden.score], {
    referenceError: golden.referenceError.score,
  });
});

test.serial('plain: a picture in, categories and pictures out', async (t) => {
  const ask = (query: string) => dense.running.post(`/explain/deeplabv3?${query}`, photo);
  const answer = (await (await ask('format=json&top=20')).json()) as DenseAnswer;
  t.is(answer.task, 'segmentation');
  const total = answer.categories?.reduce((sum, { share }) => sum + share, 0) ?? 0;
  t.true(Math.abs(total - 1) < 1e-12);
  // Of several, all but the background.
  const others = answer.categories?.filter(({ class: category }) => category !== 0) ?? [];
  t.true(others.length > 0);
  t.deepEqual(
    answer.explained.map((each) => each.class),
    others.map((each) => each.class),
  );
  const drawn = await ask('class=cat&class=0');
  t.is(drawn.status, 200);
  t.is(drawn.headers.get('content-type'), 'image/png');
});

test.serial('what a model does and takes is told', async (t) => {
  const description = (await (await dense.running.get('/explain/deeplabv3')).json()) as Record<
    string,
    unknown
  >;
  t.like(description, { task: 'segmentation', layer: ['backbone.layer4'] });
  t.deepEqual(description.labels, labels);
});

for (const [query, status, code, message] of [
  ['deeplabv3?class=4', 400, 'ERR_CLASS_OUT_OF_RANGE', /4 categories, 0 to 3/],
  ['deeplabv3?class=dog', 400, 'ERR_UNKNOWN_LABEL', /'dog'/],
  ['deeplabv3?box=0', 400, 'ERR_INVALID_REQUEST', /detectors only.*segmentation/],
  ['deeplabv3?class=1&top=2', 400, 'ERR_INVALID_REQUEST', /class or top, not both/],
  ['unsaid', 400, 'ERR_OUTPUT_SHAPE', /`output`: 'out'/],
] as const) {
  test.serial(`EXPECTED FAILURE - ${query}`, async (t) => {
    const response = await dense.running.post(`/explain/${query}`, photo);
    t.is(response.status, status);
    const { error, code: actual } = (await response.json()) as { error: string; code: string };
    t.is(actual, code);
    t.regex(error, message);
  });
}
