import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { asStored, describeIn, picture } from '../helpers/dense-server.js';
import { liteModel } from '../helpers/fixtures.js';
import {
  type GrpcClient,
  grpcClient,
  type Message,
  parameters,
  raw,
  rawElements,
} from '../helpers/grpc-client.js';
import { fixturePath } from '../helpers/root.js';
import { binaryInference, type RunningServer, readInference, startServer } from '../helpers/server.js';

// Boxes, categories, texts and the methods' own options over gRPC: the same bytes as over HTTP, where they are checked against
// PyTorch and open_clip.

const folder = mkdtempSync(join(tmpdir(), 'gradcam targets '));
let running: RunningServer;
let client: GrpcClient;
let street: Uint8Array;
test.before(async () => {
  street = await picture();
  const input = { width: 24, height: 24, interpolation: 'nearest', antialias: false, ...asStored };
  const described = await describeIn(folder, {
    detector: {
      file: 'box-targets/finds.pt',
      sidecar: { task: 'detection', layer: 'conv', labels: ['nothing', 'a', 'b', 'small'], input },
    },
    segmenter: {
      file: 'detection/deeplabv3.pt',
      sidecar: { task: 'segmentation', output: 'out', input: { ...input, width: 64, height: 48 } },
    },
  });
  running = await startServer({
    models: { lite: liteModel, clip: fixturePath('clip/resnet.pt'), ...described },
    grpcPort: 0,
  });
  client = grpcClient(running.server.gradcamGrpc?.address);
});
test.after.always(async () => {
  client?.[Symbol.dispose]();
  await running?.server.close();
  rmSync(folder, { recursive: true, force: true });
});

const cat = readFileSync(fixturePath('clip/cat-128.png'));
const texts = ['the cat', 'a Straße'];

interface Input {
  readonly name: string;
  readonly shape: readonly number[];
  readonly datatype: string;
  readonly values: () => ArrayBufferView;
  readonly contents: () => Readonly<Record<string, readonly unknown[]>>;
}
const ofPicture = (bytes: () => Uint8Array): Input => ({
  name: 'input',
  shape: [1],
  datatype: 'BYTES',
  values: () => rawElements(bytes()),
  contents: () => ({ bytes_contents: [bytes()] }),
});
const ofTexts: Input = {
  name: 'texts',
  shape: [texts.length],
  datatype: 'BYTES',
  values: () => rawElements(...texts.map((text) => Buffer.from(text))),
  contents: () => ({ bytes_contents: texts.map((text) => Buffer.from(text)) }),
};
let corners: Float32Array;
const ofCorners: Input = {
  name: 'box',
  shape: [1, 1, 4],
  datatype: 'FP32',
  values: () => corners,
  contents: () => ({ fp32_contents: [...corners] }),
};

const explained = ['heatmap', 'scores', 'classes', 'images'];
const ofStreet = ofPicture(() => street);
const ofCat = ofPicture(() => cat);
type Asked = readonly [
  model: string,
  inputs: readonly Input[],
  parameters: Readonly<Record<string, string | number>>,
  outputs: readonly string[],
];
const table: Readonly<Record<string, Asked>> = {
  'a box by its rank': ['detector', [ofStreet], { box: 1 }, [...explained, 'boxes']],
  'a box by its corners, in an input': ['detector', [ofStreet, ofCorners], {}, [...explained, 'boxes']],
  'the surest boxes': ['detector', [ofStreet], { top: 2 }, [...explained, 'boxes']],
  'a category': ['segmenter', [ofStreet], { class: 2 }, explained],
  'texts in a parameter': ['clip', [ofCat], { texts: JSON.stringify(texts) }, [...explained, 'similarities']],
  'texts in an input': ['clip', [ofCat, ofTexts], {}, [...explained, 'similarities']],
  "a method's own options": [
    'lite',
    [ofCat],
    { method: 'ablationcam', options: '{"ratioChannelsToAblate": 0.01}', class: 281 },
    explained,
  ],
};

const head = ({ name, shape, datatype }: Input) => ({ name, shape, datatype });

async function overHttp([model, inputs, given, outputs]: Asked) {
  const { body, headers } = binaryInference(
    {
      inputs: inputs.map(head),
      parameters: { ...given, binary_data_output: true },
      outputs: outputs.map((name) => ({ name })),
    },
    ...inputs.map(({ values }) => values()),
  );
  const response = await running.post(`/v2/models/${model}/infer`, body, headers);
  return (await readInference(response)).outputs;
}

test.serial('there are boxes to ask for', async (t) => {
  const { boxes } = await overHttp(['detector', [ofStreet], { top: 2 }, ['boxes']]);
  corners = new Float32Array(boxes?.bytes?.buffer as ArrayBuffer).slice(4, 8);
  t.is(corners.length, 4);
});

for (const [name, asked] of Object.entries(table)) {
  test.serial(`as over HTTP, to the bit: ${name}`, async (t) => {
    const expected = await overHttp(asked);
    const [model, inputs, given, outputs] = asked;
    const request = {
      model_name: model,
      parameters: parameters({ ...given, binary_data_output: true }),
      outputs: outputs.map((output) => ({ name: output })),
    };
    for (const sent of [
      { inputs: inputs.map(head), raw_input_contents: inputs.map(({ values }) => raw(values())) },
      { inputs: inputs.map((input) => ({ ...head(input), contents: input.contents() })) },
    ]) {
      const { status, details, response } = await client.call('ModelInfer', { ...request, ...sent });
      t.is(status, 'OK', details);
      t.deepEqual(
        response.outputs.map((output: Message) => output.name),
        outputs,
      );
      for (const [index, output] of response.outputs.entries()) {
        const { shape, datatype, bytes } = expected[output.name] ?? t.fail(output.name);
        t.deepEqual([output.shape, output.datatype], [shape, datatype]);
        t.deepEqual(response.raw_output_contents[index], bytes, output.name);
      }
    }
  });
}

test.serial('models tell the outputs of their task, over HTTP and gRPC', async (t) => {
  for (const [name, own] of [
    ['lite', []],
    ['segmenter', []],
    ['detector', [{ name: 'boxes', datatype: 'FP32', shape: [-1, 4] }]],
    ['clip', [{ name: 'similarities', datatype: 'FP32', shape: [-1] }]],
  ] as const) {
    const { response } = await client.call('ModelMetadata', { name });
    t.deepEqual(response, await (await running.get(`/v2/models/${name}`)).json());
    t.deepEqual(
      response.outputs.slice(response.outputs.findIndex((each: Message) => each.name === 'images') + 1),
      own,
    );
  }
});

test.serial('what a task has not is refused, with its code', async (t) => {
  const ask = async (model: string, given: Record<string, string | number>) =>
    await client.call('ModelInfer', {
      model_name: model,
      inputs: [head(ofCat)],
      raw_input_contents: [raw(ofCat.values())],
      parameters: parameters(given),
    });
  for (const [model, given, code] of [
    ['lite', { box: 0 }, 'ERR_INVALID_REQUEST'],
    ['lite', { texts: 'a' }, 'ERR_INVALID_REQUEST'],
    ['clip', { method: 'gradcam' }, 'ERR_INVALID_REQUEST'],
    ['detector', { box: 4000 }, 'ERR_NO_DETECTION'],
    ['lite', { method: 'gradcam', options: '{"samples": 3}' }, 'ERR_UNKNOWN_OPTION'],
  ] as const) {
    const { status, code: actual } = await ask(model, given);
    t.deepEqual([status, actual], ['INVALID_ARGUMENT', code], model);
  }
});
