import test from 'ava';
import {
  asStored,
  type DenseAnswer,
  type DenseMap,
  type DenseServer,
  denseGolden,
  type FoundBox,
  picture,
  type StoredBox,
  startDescribed,
} from '../helpers/dense-server.js';
import { detectionCases, floatsOf as storedFloats } from '../helpers/detection-fixtures.js';
import { maxDifference, readJson } from '../helpers/fixtures.js';
import { closeToFloat64 } from '../helpers/float64-result.js';
import { binaryInference, floatsOf, readInference } from '../helpers/server.js';
import type { StoredValues } from '../helpers/stored-values.js';
import { testWith } from '../helpers/test-with.js';

// Detectors over all protocols: boxes in the picture's pixels, and maps of single boxes, by PyTorch in double precision
// (tools/fixtures/networks/dense_server.py and box_targets.py, tools/fixtures/architectures/detection.py).

const withTorchvision = testWith('torchvision');
const boxed = readJson<{
  input: StoredValues;
  cases: readonly {
    readonly box: number;
    readonly wanted: readonly number[];
    readonly label: number;
    readonly moved: readonly number[];
    readonly maps: StoredValues;
    readonly score: number;
    readonly referenceError: { readonly maps: number; readonly score: number };
  }[];
}>('box-targets/golden.json');
const exact = boxed.cases.filter(({ moved }) => moved.every((by) => by === 0));

const input = { width: 24, height: 24, interpolation: 'nearest', antialias: false, ...asStored };
const labels = ['nothing', 'a', 'b', 'small', 'd', 'e', 'f', 'large'];
const finds = { file: 'box-targets/finds.pt', sidecar: { task: 'detection', layer: 'conv', labels, input } };
let dense: DenseServer;
test.before(async () => {
  dense = await startDescribed({
    finds,
    barred: { ...finds, sidecar: { ...finds.sidecar, input: { ...input, fit: 'contain' } } },
    seldom: { file: 'dense-server/seldom.pt', sidecar: { task: 'detection', layer: 'conv', input } },
    classifier: {
      file: 'scripted.pt',
      sidecar: { task: 'detection', input: { ...input, width: 32, height: 32 } },
    },
  });
});
test.after.always(async () => {
  await dense?.[Symbol.asyncDispose]();
});

const json = async (name: string, query: string, bytes: Uint8Array) => {
  const response = await dense.running.post(`/explain/${name}?format=json&${query}`, bytes);
  return (await response.json()) as DenseAnswer;
};

/** The model's in float32, from bytes that the server made into an input, against PyTorch's in double precision. */
function areBoxes(
  t: import('ava').ExecutionContext,
  found: readonly FoundBox[] | null,
  expected: readonly StoredBox[],
  toPicture: (box: StoredBox['box']) => number[],
): void {
  t.deepEqual(
    found?.map(({ rank, class: label }) => [rank, label]),
    expected.map(({ label }, rank) => [rank, label]),
  );
  for (const [index, { box, score }] of expected.entries()) {
    t.true(maxDifference(Float64Array.from(found?.[index]?.box ?? []), toPicture(box)) < 1e-4);
    t.true(Math.abs((found?.[index]?.probability ?? 0) - score) < 1e-5);
  }
}

test.serial("plain: all boxes, in the picture's pixels whatever its size", async (t) => {
  const { whole } = denseGolden.detection;
  for (const times of [1, 3]) {
    const answer = await json('finds', '', await picture({ times }));
    t.is(answer.task, 'detection');
    t.is(answer.categories, null);
    areBoxes(t, answer.boxes, whole, (box) => box.map((value) => value * times));
    const [surest] = answer.boxes ?? [];
    t.is(answer.explained.length, 1);
    t.like(answer.explained[0], { ...surest, share: null, label: 'small' });
  }
});

test.serial('plain: bars around the picture are not part of it', async (t) => {
  const answer = await json('barred', '', await picture({ rows: 12, times: 2 }));
  const cut = (value: number) => Math.min(Math.max(value, 0), 24);
  areBoxes(t, answer.boxes, denseGolden.detection.barred, ([x1, y1, x2, y2]) => [
    x1 * 2,
    cut((y1 - 6) * 2),
    x2 * 2,
    cut((y2 - 6) * 2),
  ]);
});

test.serial('plain: a box is chosen by rank, label or corners; several come from one forward', async (t) => {
  const large = await picture({ times: 3 });
  const ranks = (answer: DenseAnswer) => answer.explained.map(({ rank }) => rank);
  t.deepEqual(ranks(await json('finds', 'box=1', large)), [1]);
  t.deepEqual(ranks(await json('finds', 'box=1&box=0', large)), [1, 0]);
  t.deepEqual(ranks(await json('finds', 'class=large&class=3', large)), [1, 0]);
  t.deepEqual(ranks(await json('finds', 'top=20', large)), [0, 1]);
  // Those of the second box, moved a little, in the picture.
  t.deepEqual(ranks(await json('finds', 'box=6,5,66,58', large)), [1]);
  const drawn = await dense.running.post('/explain/finds?top=2&format=webp', large);
  t.is(drawn.headers.get('content-type'), 'image/webp');
});

const floats = Float32Array.from(boxed.input.values);
const tensor = Array.from({ length: 3 }, (_, channel) =>
  Array.from({ length: 24 }, (_unused, row) =>
    Array.from(floats.subarray((channel * 24 + row) * 24, (channel * 24 + row + 1) * 24)),
  ),
);

for (const [index, { wanted, label, maps, score, referenceError }] of exact.entries()) {
  const isRight = (t: import('ava').ExecutionContext, map: DenseMap | undefined) => {
    t.is(map?.class, label);
    closeToFloat64(t, 'map', Float32Array.from(map?.heatmap.flat() ?? []), maps.values, {
      referenceError: referenceError.maps,
    });
    closeToFloat64(t, 'score', [map?.score ?? 0], [score], { referenceError: referenceError.score });
  };
  test.serial(`V1: the map of box ${index} is autograd's`, async (t) => {
    const response = await dense.running.post('/v1/models/finds:explain', {
      instances: [tensor, { tensor, class: labels[label] }, { tensor, box: [wanted, wanted] }],
      box: wanted,
      upsample: false,
    });
    t.is(response.status, 200);
    const { explanations } = (await response.json()) as { explanations: DenseAnswer[] };
    t.deepEqual(
      explanations.map(({ maps: each }) => each.length),
      [1, 1, 2],
    );
    for (const map of explanations.flatMap(({ maps: each }) => each)) isRight(t, map);
  });

  test.serial(`V2: the map of box ${index} is autograd's, by a parameter or an input`, async (t) => {
    const ask = async (targets: { parameters?: object; inputs?: object[] }, ...more: ArrayBufferView[]) => {
      const { body, headers } = binaryInference(
        {
          inputs: [{ name: 'x', shape: [1, 3, 24, 24], datatype: 'FP32' }, ...((targets.inputs ?? []) as [])],
          parameters: { upsample: false, binary_data_output: true, ...targets.parameters },
        },
        floats,
        ...more,
      );
      const response = await dense.running.post('/v2/models/finds/infer', body, headers);
      t.is(response.status, 200);
      return (await readInference(response)).outputs;
    };
    const ofInput = (shape: number[]) => ({ inputs: [{ name: 'box', shape, datatype: 'FP32' }] });
    for (const outputs of [
      await ask({ parameters: { box: wanted.join(',') } }),
      await ask({ parameters: { class: label } }),
      await ask(ofInput([1, 4]), Float32Array.from(wanted)),
      await ask(ofInput([1, 2, 4]), Float32Array.from([...wanted, ...wanted])),
    ]) {
      const rows = outputs.heatmap?.shape[0] ?? 0;
      t.deepEqual(outputs.boxes?.shape, [rows, 4]);
      for (let row = 0; row < rows; row++) {
        const map = floatsOf(outputs.heatmap?.bytes ?? null).subarray(row * 121, (row + 1) * 121);
        closeToFloat64(t, 'map', map, maps.values, { referenceError: referenceError.maps });
        const corners = floatsOf(outputs.boxes?.bytes ?? null).subarray(row * 4, (row + 1) * 4);
        t.true(maxDifference(corners, wanted) < 1e-4);
      }
      t.is(Number(new BigInt64Array(outputs.classes?.bytes?.buffer as ArrayBuffer)[0]), label);
    }
  });
}

test.serial('where nothing is found, the model says so and goes on', async (t) => {
  const dark = await (await import('sharp'))
    .default({ create: { width: 24, height: 24, channels: 3, background: 'black' } })
    .png()
    .toBuffer();
  const response = await dense.running.post('/explain/seldom?format=json', new Uint8Array(dark));
  t.is(response.status, 400);
  t.like((await response.json()) as object, { code: 'ERR_NO_DETECTION' });
  const light = await (await import('sharp'))
    .default({ create: { width: 24, height: 24, channels: 3, background: 'white' } })
    .png()
    .toBuffer();
  const answer = await json('seldom', '', new Uint8Array(light));
  t.deepEqual(
    answer.boxes?.map(({ class: label, box }) => [label, box]),
    [[1, [3, 4, 18, 16.5]]],
  );
});

for (const [query, code, message] of [
  ['finds?box=2', 'ERR_NO_DETECTION', /2 boxes in this picture, 0 to 1: there is no box 2/],
  ['finds?box=0,20,3,23', 'ERR_NO_DETECTION', /The nearest is box \d, \(.*overlap \(IoU\) of 0\.\d\d/],
  ['finds?class=f', 'ERR_NO_DETECTION', /finds no f in this picture\. What it finds: small, large/],
  ['finds?class=zebra', 'ERR_UNKNOWN_LABEL', /zebra/],
  ['finds?box=0&class=3', 'ERR_INVALID_REQUEST', /class or box, not both/],
  ['finds?box=1,2', 'ERR_INVALID_REQUEST', /left,top,right,bottom/],
  ['finds?box=-1', 'ERR_INVALID_REQUEST', /left,top,right,bottom/],
  ['classifier', 'ERR_OUTPUT_SHAPE', /task of this model is detection/],
] as const) {
  test.serial(`EXPECTED FAILURE - ${query}`, async (t) => {
    const response = await dense.running.post(`/explain/${query}`, await picture());
    t.is(response.status, 400);
    const { error, code: actual } = (await response.json()) as { error: string; code: string };
    t.is(actual, code);
    t.regex(error, message);
  });
}

for (const [what, box] of [
  ['a box that is no number', { name: 'box', shape: [1], datatype: 'BYTES', data: ['AAAA'] }],
  ['a box with three corners', { name: 'box', shape: [1, 3], datatype: 'FP32', data: [1, 2, 3] }],
  ['boxes of two images', { name: 'box', shape: [2, 4], datatype: 'FP32', data: [1, 2, 3, 4, 1, 2, 3, 4] }],
] as const) {
  test.serial(`EXPECTED FAILURE - V2: ${what}`, async (t) => {
    const inputs = [{ name: 'x', shape: [1, 3, 24, 24], datatype: 'FP32', data: [...floats] }, box];
    const response = await dense.running.post('/v2/models/finds/infer', { inputs });
    t.is(response.status, 400);
    t.like((await response.json()) as object, { code: 'ERR_INVALID_REQUEST' });
  });
}

withTorchvision(
  "Faster R-CNN: its boxes are PyTorch's, and each image of a request has its own",
  async (t) => {
    const [golden] = detectionCases.filter(({ name }) => name === 'frcnn-gradcam-pyramid');
    const { detections = [], referenceError, input: stored } = golden as NonNullable<typeof golden>;
    const [, channels = 0, height = 0, width = 0] = stored.shape;
    await using torchvision = await startDescribed({
      frcnn: {
        file: 'detection/faster_rcnn.pt',
        sidecar: { task: 'detection', output: 1, input: { width, height, ...asStored } },
      },
    });
    const images = storedFloats(stored);
    const ask = async (parameters: object) => {
      const { body, headers } = binaryInference(
        {
          inputs: [{ name: 'images', shape: [2, channels, height, width], datatype: 'FP32' }],
          parameters: { binary_data_output: true, ...parameters },
        },
        images,
      );
      const response = await torchvision.running.post('/v2/models/frcnn/infer', body, headers);
      t.is(response.status, 200);
      return (await readInference(response)).outputs;
    };
    const explained = await ask({ top: 1 });
    t.deepEqual(explained.heatmap?.shape, [2, height, width]);
    const first = floatsOf(explained.boxes?.bytes ?? null);
    const predicted = await ask({});
    for (const [image, { boxes }] of detections.entries()) {
      const bounds = { referenceError: referenceError.detections };
      closeToFloat64(t, 'the surest', first.subarray(image * 4, image * 4 + 4), boxes.slice(0, 4), bounds);
      for (const name of [`output.${image}.boxes`, `output.1.${image}.boxes`]) {
        const output = name in explained ? explained[name] : predicted[name];
        closeToFloat64(t, name, floatsOf(output?.bytes ?? null), boxes, bounds);
      }
    }
  },
);
