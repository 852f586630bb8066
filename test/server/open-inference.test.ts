import test from 'ava';
import {
  GradCAM,
  GradCAMPlusPlus,
  imageOptions,
  loadImage,
  loadModel,
  loadSidecar,
  type Model,
  Tensor,
} from 'node-gradcam';
import { liteModel, noise, readArray, readJson, type StoredArray, sameBits } from '../helpers/fixtures.js';
import { asCloseAs, closeToFloat64, yardstick } from '../helpers/float64-result.js';
import { fixturePath } from '../helpers/root.js';
import {
  binaryInference,
  floatsOf,
  photo,
  type RunningServer,
  readInference,
  startServer,
} from '../helpers/server.js';

const input = { name: 'input', shape: [1, 3, 224, 224], datatype: 'FP32' };
const pixels = 3 * 224 * 224;
let running: RunningServer;
let model: Model;
test.before(async () => {
  running = await startServer({ models: { lite: liteModel, tiny: fixturePath('scripted.pt') }, maxBatch: 4 });
  model = await loadModel(liteModel, { dtype: 'float32' });
});
test.after.always(async () => {
  await running.server.close();
  await model.dispose();
});

test.serial('a binary explain equals the library to the bit', async (t) => {
  const image = noise(pixels);
  const { body, headers } = binaryInference(
    { id: 'a-1', inputs: [input], parameters: { class: 281, binary_data_output: true } },
    image,
  );
  const response = await running.post('/v2/models/lite/infer', body, headers);
  t.is(response.status, 200);
  t.is(response.headers.get('content-type'), 'application/octet-stream');
  const { json, outputs } = await readInference(response);
  t.is(json.id, 'a-1');
  t.is(json.model_name, 'lite');
  t.is(json.parameters?.method, 'gradcam');
  t.is(json.parameters?.layer, '_relu1');
  const expected = await new GradCAM({ model }).explain(Tensor.from(image, input.shape), { targets: 281 });
  t.true(
    sameBits(floatsOf(outputs.heatmap?.bytes ?? null), expected.heatmaps.toTypedArray() as Float32Array),
  );
  t.true(
    sameBits(
      floatsOf(outputs.output?.bytes ?? null),
      (expected.outputs as Tensor).toTypedArray() as Float32Array,
    ),
  );
  t.deepEqual(floatsOf(outputs.scores?.bytes ?? null), Float32Array.from(expected.scores));
  t.deepEqual(outputs.heatmap?.shape, [1, 224, 224]);
  t.is(outputs.classes?.bytes?.readBigInt64LE(), 281n);
});

test.serial('JSON tensors equal the library to the bit as well, flat and nested', async (t) => {
  const image = noise(pixels, 3);
  const rows = Array.from({ length: 672 }, (_, row) =>
    Array.from(image.subarray(row * 224, (row + 1) * 224)),
  );
  const nested = [0, 1, 2].map((channel) => rows.slice(channel * 224, (channel + 1) * 224));
  const expected = await new GradCAM({ model, targetLayers: '_conv_head' }).explain(
    Tensor.from(image, input.shape),
  );
  for (const data of [Array.from(image), [nested]]) {
    const response = await running.post('/v2/models/lite/infer', {
      inputs: [{ ...input, data }],
      parameters: { layer: '_conv_head' },
      outputs: [{ name: 'heatmap' }],
    });
    t.is(response.status, 200);
    t.regex(response.headers.get('content-type') ?? '', /^application\/json/);
    const { outputs } = await readInference(response);
    t.deepEqual(Object.keys(outputs), ['heatmap']);
    t.true(
      sameBits(
        Float32Array.from(outputs.heatmap?.data ?? []),
        expected.heatmaps.toTypedArray() as Float32Array,
      ),
    );
  }
});

test.serial("pytorch-grad-cam's own maps come back from the server", async (t) => {
  interface Case {
    readonly model: string;
    readonly input: StoredArray;
    readonly targetLayers: string[];
    readonly targets: null;
    readonly expected: { readonly heatmaps: StoredArray };
    readonly referenceError: { readonly heatmaps: number };
  }
  const cases = readJson<{ cases: Case[] }>('golden.json').cases.filter(
    (each) =>
      each.model === 'scripted.pt' && each.targets === null && typeof each.targetLayers[0] === 'string',
  );
  t.true(cases.length >= 2);
  for (const golden of cases) {
    const { body, headers } = binaryInference(
      {
        inputs: [{ name: 'x', shape: golden.input.shape, datatype: 'FP32' }],
        parameters: { layer: golden.targetLayers.join(',') },
        outputs: [{ name: 'heatmap', parameters: { binary_data: true } }],
      },
      readArray(golden.input),
    );
    const { outputs } = await readInference(await running.post('/v2/models/tiny/infer', body, headers));
    const heatmap = floatsOf(outputs.heatmap?.bytes ?? null);
    closeToFloat64(t, `${golden.targetLayers}`, heatmap, readArray(golden.expected.heatmaps), {
      referenceError: golden.referenceError.heatmaps,
    });
  }
});

test.serial('a batch with a class for each image, in an input of its own', async (t) => {
  const images = noise(3 * pixels, 5);
  const classes = BigInt64Array.from(
    [
      [281n, 3n],
      [7n, 4n],
      [950n, 5n],
    ].flat(),
  );
  const { body, headers } = binaryInference(
    {
      inputs: [
        { ...input, shape: [3, 3, 224, 224] },
        { name: 'class', shape: [3, 2], datatype: 'INT64' },
      ],
      parameters: { method: 'gradcam++', binary_data_output: true },
    },
    images,
    classes,
  );
  const { outputs } = await readInference(await running.post('/v2/models/lite/infer', body, headers));
  const expected = await new GradCAMPlusPlus({ model }).explain(Tensor.from(images, [3, 3, 224, 224]), {
    targets: [
      [281, 3],
      [7, 4],
      [950, 5],
    ],
  });
  t.deepEqual(outputs.heatmap?.shape, [6, 224, 224]);
  t.true(
    sameBits(floatsOf(outputs.heatmap?.bytes ?? null), expected.heatmaps.toTypedArray() as Float32Array),
  );
  const bigints = (bytes: Buffer) => Array.from(new BigInt64Array(bytes.buffer), Number);
  t.deepEqual(bigints(outputs.classes?.bytes as Buffer), [281, 3, 7, 4, 950, 5]);
  t.deepEqual(bigints(outputs.images?.bytes as Buffer), [0, 0, 1, 1, 2, 2]);
});

test.serial('more images than a batch takes are answered in order', async (t) => {
  const images = noise(5 * pixels, 9);
  const { body, headers } = binaryInference(
    { inputs: [{ ...input, shape: [5, 3, 224, 224] }], parameters: { class: 3, binary_data_output: true } },
    images,
  );
  const { outputs } = await readInference(await running.post('/v2/models/lite/infer', body, headers));
  const maps = floatsOf(outputs.heatmap?.bytes ?? null);
  t.deepEqual(outputs.heatmap?.shape, [5, 224, 224]);
  t.deepEqual(Array.from(new BigInt64Array(outputs.images?.bytes?.buffer as ArrayBuffer), Number), [
    ...Array(5).keys(),
  ]);
  const last = await yardstick(liteModel, async (plainly) => {
    const image = Tensor.from(images.subarray(4 * pixels), input.shape);
    return (await new GradCAM(plainly).explain(image, { targets: 3 })).heatmaps;
  });
  asCloseAs(t, 'the last image', maps.subarray(4 * 224 * 224), last);
});

test.serial('pictures as BYTES, in JSON and behind it, by a label', async (t) => {
  const sidecar = await loadSidecar(liteModel);
  const image = await loadImage(photo, sidecar ? imageOptions(sidecar) : {});
  const expected = await new GradCAM({ model }).explain(image.tensor, { targets: 281 });
  const asked = {
    parameters: { class: 'tabby' },
    outputs: [{ name: 'heatmap', parameters: { binary_data: true } }],
  };
  const inputs = [{ name: 'input', shape: [1], datatype: 'BYTES' }];
  const inJson = await running.post('/v2/models/lite/infer', {
    ...asked,
    inputs: [{ ...inputs[0], data: [photo.toString('base64')] }],
  });
  const length = Buffer.alloc(4);
  length.writeUInt32LE(photo.length);
  const { body, headers } = binaryInference({ ...asked, inputs }, Buffer.concat([length, photo]));
  for (const response of [inJson, await running.post('/v2/models/lite/infer', body, headers)]) {
    const { outputs } = await readInference(response);
    t.true(
      sameBits(floatsOf(outputs.heatmap?.bytes ?? null), expected.heatmaps.toTypedArray() as Float32Array),
    );
  }
});

test.serial('without anything of an explain it is a prediction', async (t) => {
  const image = noise(pixels);
  const { body, headers } = binaryInference({ inputs: [input] }, image);
  const { json, outputs } = await readInference(
    await running.post('/v2/models/lite/versions/1/infer', body, headers),
  );
  t.is(json.model_version, '1');
  t.deepEqual(Object.keys(outputs), ['output']);
  const expected = (await model.forward(Tensor.from(image, input.shape))) as Tensor;
  t.true(sameBits(Float32Array.from(outputs.output?.data ?? []), expected.toTypedArray() as Float32Array));
});

test.serial('the server, its health and its metadata', async (t) => {
  const json = async (path: string) => (await running.get(path)).json();
  t.like(await json('/v2'), {
    name: 'node-gradcam',
    extensions: ['binary_tensor_data', 'model_configuration', 'model_repository', 'parameters', 'statistics'],
  });
  t.deepEqual(await json('/v2/health/live'), { live: true });
  t.deepEqual(await json('/v2/health/ready'), { ready: true });
  t.deepEqual(await json('/v2/models/lite/ready'), { name: 'lite', ready: true });
  t.like(await json('/v2/models/lite/versions/1'), {
    name: 'lite',
    versions: ['1'],
    platform: 'pytorch_torchscript',
    inputs: [{ name: 'input', datatype: 'FP32', shape: [-1, 3, 224, 224] }],
  });
  t.is((await running.get('/v2/models/lite/versions/7')).status, 404);
  t.is((await running.get('/v2/models/nothing')).status, 404);
});

const refused = test.macro(async (t, change: object, message: RegExp) => {
  const body = { inputs: [{ ...input, shape: [1, 3, 2, 2], data: Array(12).fill(0.5) }], ...change };
  const response = await running.post('/v2/models/lite/infer', body);
  const answer = (await response.json()) as { error: string; code: string; request_id: string };
  t.is(response.status, 400, answer.error);
  t.regex(answer.error, message);
  t.regex(answer.code, /^ERR_/);
  t.is(response.headers.get('x-request-id'), answer.request_id);
  t.notRegex(answer.error, /\n\s+at |node_modules|\.js:/);
});
const one = (change: object) => ({
  inputs: [{ ...input, shape: [1, 3, 2, 2], data: Array(12).fill(0.5), ...change }],
});
test.serial('refused: no inputs', refused, { inputs: [] }, /inputs/);
test.serial('refused: a misspelt key', refused, { input: [] }, /Unrecognized key/);
test.serial(
  'refused: too few numbers',
  refused,
  one({ data: [1, 2] }),
  /holds 2 numbers, but its shape says 12/,
);
test.serial('refused: ragged numbers', refused, one({ data: [[1, 2], [3]] }), /ragged/);
test.serial('refused: a text among the numbers', refused, one({ data: Array(12).fill('x') }), /not a number/);
test.serial(
  'refused: neither data nor bytes',
  refused,
  one({ data: undefined }),
  /neither data nor binary_data_size/,
);
test.serial(
  'refused: an unknown datatype',
  refused,
  one({ datatype: 'UINT16' }),
  /UINT16, which is not supported/,
);
test.serial(
  'refused: bytes that are not there',
  refused,
  one({ data: undefined, parameters: { binary_data_size: 48 } }),
  /0 are left/,
);
test.serial('refused: an enormous shape', refused, one({ shape: [1e9, 1e9, 9, 9] }), /too large|empty/);
test.serial(
  'refused: an unknown output',
  refused,
  { ...one({ shape: [1, 3, 224, 224], data: Array(pixels).fill(0) }), outputs: [{ name: 'heat' }] },
  /no output heat\. There is: output/,
);
test.serial(
  'refused: an unknown method',
  refused,
  { parameters: { method: 'magic' } },
  /parameters\.method: .*"gradcam"/,
);
test.serial(
  'refused: an unknown layer',
  refused,
  { parameters: { layer: '_conv_haed' } },
  /nearest names: '_conv_head'/,
);
test.serial('refused: an unknown label', refused, { parameters: { class: 'tabbycat' } }, /tabby/);
test.serial(
  'refused: a class that the model has not',
  refused,
  { ...one({ shape: [1, 3, 224, 224], data: Array(pixels).fill(0) }), parameters: { class: 5000 } },
  /5000/,
);
test.serial(
  'refused: a picture that is none',
  refused,
  { inputs: [{ name: 'i', shape: [1], datatype: 'BYTES', data: ['AAAA'] }] },
  /Cannot read/,
);

test.serial('refused: wrong lengths in the binary extension', async (t) => {
  const image = new Float32Array(12);
  const { body, headers } = binaryInference({ inputs: [{ ...input, shape: [1, 3, 2, 2] }] }, image);
  const length = 'inference-header-content-length';
  const send = async (bytes: Buffer, header: string) => {
    const response = await running.post('/v2/models/lite/infer', bytes, { ...headers, [length]: header });
    return [response.status, ((await response.json()) as { error: string }).error] as const;
  };
  const right = headers[length] as string;
  t.like(await send(body, '99999'), [400]);
  t.like(await send(body, '-1'), [400]);
  t.like(await send(body, 'x'), [400]);
  t.like(await send(body, String(Number(right) + 1)), [400]);
  t.regex(
    (await send(Buffer.concat([body, Buffer.alloc(4)]), right))[1],
    /4 bytes behind the JSON belong to no input/,
  );
  t.regex((await send(body.subarray(0, -4), right))[1], /announces 48 bytes, but 44 are left/);
});

test.serial('NaN is refused, and the server goes on', async (t) => {
  const { body, headers } = binaryInference(
    { inputs: [input], parameters: { class: 1 } },
    new Float32Array(pixels).fill(Number.NaN),
  );
  const response = await running.post('/v2/models/lite/infer', body, headers);
  t.is(response.status, 400);
  t.is(((await response.json()) as { code: string }).code, 'ERR_INPUT_NOT_FINITE');
  t.is((await running.get('/v2/models/lite/ready')).status, 200);
});

test.serial('a body whose type is not said is read, as of the official client of Triton', async (t) => {
  const { body, headers } = binaryInference({ inputs: [input], parameters: { class: 3 } }, noise(pixels));
  const { 'content-type': type, ...untold } = headers;
  const told = await running.post('/v2/models/lite/infer', body, headers);
  const response = await running.post('/v2/models/lite/infer', body, untold);
  t.is(type, 'application/octet-stream');
  t.is(response.status, 200);
  const [{ outputs: wanted }, { outputs: given }] = [
    await readInference(told),
    await readInference(response),
  ];
  t.deepEqual(given.scores?.data, wanted.scores?.data);
  // What a page of another site may send without asking first.
  for (const [foreign, status] of [
    [{ 'content-type': 'text/plain' }, 415],
    [{ origin: 'https://example.org' }, 403],
  ] as const) {
    const refused = await running.post('/v2/models/lite/infer', body, { ...untold, ...foreign });
    t.is(refused.status, status);
  }
});

for (const [datatype, bits, values] of [
  ['FP16', [0x0000, 0x3c00, 0xbc00, 0x3e00, 0x3555, 0x0001], [0, 1, -1, 1.5, 0.333251953125, 2 ** -24]],
  ['BF16', [0x0000, 0x3f80, 0xbf80, 0x3fc0, 0x3eab, 0x3f00], [0, 1, -1, 1.5, 0.333984375, 0.5]],
] as const) {
  test.serial(`${datatype} is the same as its numbers in FP32`, async (t) => {
    const ask = async (type: string, tensor: ArrayBufferView) => {
      const { body, headers } = binaryInference(
        { inputs: [{ ...input, datatype: type }], parameters: { class: 3, binary_data_output: true } },
        tensor,
      );
      const response = await running.post('/v2/models/lite/infer', body, headers);
      t.is(response.status, 200);
      return (await readInference(response)).outputs.output?.bytes;
    };
    const given = Uint16Array.from({ length: pixels }, (_, index) => bits[index % bits.length] as number);
    const same = Float32Array.from({ length: pixels }, (_, index) => values[index % values.length] as number);
    t.deepEqual(await ask(datatype, given), await ask('FP32', same));
  });
}
