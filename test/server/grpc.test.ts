import { readFile } from 'node:fs/promises';
import test from 'ava';
import { liteModel, noise } from '../helpers/fixtures.js';
import {
  answersOf,
  type GrpcClient,
  grpcClient,
  type Message,
  parameters,
  raw,
  rawElements,
} from '../helpers/grpc-client.js';
import { fixturePath } from '../helpers/root.js';
import {
  binaryInference,
  floatsOf,
  photo,
  type RunningServer,
  readInference,
  startServer,
} from '../helpers/server.js';

// The Open Inference Protocol over gRPC, by gRPC's own client. What is asked in the same way over HTTP, which is checked
// against the library and pytorch-grad-cam elsewhere, has to be answered with the same bytes.

const pixels = 3 * 16 * 16;
let running: RunningServer;
let client: GrpcClient;
test.before(async () => {
  running = await startServer({
    models: { lite: liteModel, tiny: fixturePath('scripted.pt') },
    maxBatch: 4,
    grpcPort: 0,
  });
  client = grpcClient(running.server.gradcamGrpc?.address);
});
test.after.always(async () => {
  client[Symbol.dispose]();
  await running.server.close();
});

interface Input {
  readonly name: string;
  readonly shape: readonly number[];
  readonly datatype: string;
  readonly values: ArrayBufferView;
  /** The field of typed contents, and what is in it; none for types that are sent raw only. */
  readonly contents?: Readonly<Record<string, readonly unknown[]>>;
}

interface Asked {
  readonly model?: string;
  readonly inputs: readonly Input[];
  readonly parameters?: Readonly<Record<string, string | number | boolean>>;
  readonly outputs?: readonly string[];
}

const head = ({ name, shape, datatype }: Input) => ({ name, shape, datatype });
const floats = (shape: readonly number[], seed = 1): Input => {
  const values = noise(
    shape.reduce((product, length) => product * length, 1),
    seed,
  );
  return { name: 'x', shape, datatype: 'FP32', values, contents: { fp32_contents: [...values] } };
};
const half = (datatype: 'FP16' | 'BF16'): Input => {
  const bits = { FP16: [0x3c00, 0xbc00, 0x3e00], BF16: [0x3f80, 0xbf80, 0x3fc0] }[datatype];
  const values = Uint16Array.from({ length: pixels }, (_, index) => bits[index % 3] as number);
  return { name: 'x', shape: [1, 3, 16, 16], datatype, values };
};
const classes = BigInt64Array.from([1n, 3n, 0n, 4n]);
const ofClasses: Input = {
  name: 'class',
  shape: [2, 2],
  datatype: 'INT64',
  values: classes,
  contents: { int64_contents: Array.from(classes, String) },
};
const doubles = Float64Array.from(noise(pixels, 4));

const table: Readonly<Record<string, Asked>> = {
  'a prediction': { inputs: [floats([3, 3, 16, 16])] },
  'an explain of a class': { inputs: [floats([1, 3, 16, 16])], parameters: { class: 2 } },
  'a method and a layer': {
    inputs: [floats([2, 3, 16, 16])],
    parameters: { method: 'gradcam++', layer: 'layer1, layer2', class: 1 },
    outputs: ['heatmap', 'classes', 'images'],
  },
  'maps of the layer’s size, smoothed': {
    inputs: [floats([1, 3, 16, 16], 7)],
    parameters: { upsample: false, eigen_smooth: true, aug_smooth: true, class: 0 },
    outputs: ['heatmap'],
  },
  'a class for each image': { inputs: [floats([2, 3, 16, 16], 2), ofClasses] },
  'more images than a batch takes': { inputs: [floats([9, 3, 16, 16], 3)], parameters: { class: 3 } },
  FP64: {
    inputs: [
      {
        name: 'x',
        shape: [1, 3, 16, 16],
        datatype: 'FP64',
        values: doubles,
        contents: { fp64_contents: [...doubles] },
      },
    ],
    parameters: { class: 3 },
  },
  FP16: { inputs: [half('FP16')], parameters: { class: 3 } },
  BF16: { inputs: [half('BF16')], parameters: { class: 3 } },
  'a picture by a label': {
    model: 'lite',
    inputs: [
      {
        name: 'input',
        shape: [1],
        datatype: 'BYTES',
        values: rawElements(photo),
        contents: { bytes_contents: [photo] },
      },
    ],
    parameters: { class: 'tabby', method: 'layercam' },
    outputs: ['scores', 'heatmap'],
  },
};

/** What HTTP answers, as bytes by name. */
async function overHttp({ model = 'tiny', inputs, parameters: given = {}, outputs }: Asked) {
  const { body, headers } = binaryInference(
    {
      inputs: inputs.map(head),
      parameters: { ...given, binary_data_output: true },
      ...(outputs === undefined ? {} : { outputs: outputs.map((name) => ({ name })) }),
    },
    ...inputs.map(({ values }) => values),
  );
  return await readInference(await running.post(`/v2/models/${model}/infer`, body, headers));
}

const kinds: Readonly<Record<string, (bytes: Buffer) => readonly [field: string, values: unknown[]]>> = {
  FP32: (bytes) => ['fp32_contents', [...new Float32Array(bytes.buffer)]],
  INT64: (bytes) => ['int64_contents', Array.from(new BigInt64Array(bytes.buffer), Number)],
};

for (const [name, asked] of Object.entries(table)) {
  test.serial(`as over HTTP, to the bit: ${name}`, async (t) => {
    const expected = await overHttp(asked);
    const names = Object.keys(expected.outputs);
    t.true(names.length >= 1);
    const request = {
      model_name: asked.model ?? 'tiny',
      parameters: parameters(asked.parameters ?? {}),
      outputs: asked.outputs?.map((output) => ({ name: output })) ?? [],
    };
    const { status, details, response } = await client.call('ModelInfer', {
      ...request,
      inputs: asked.inputs.map(head),
      raw_input_contents: asked.inputs.map(({ values }) => raw(values)),
    });
    t.is(status, 'OK', details);
    t.deepEqual(
      response.outputs.map((each: Message) => each.name),
      names,
    );
    for (const [index, output] of response.outputs.entries()) {
      const { shape, datatype, bytes } = expected.outputs[output.name] ?? t.fail(output.name);
      t.deepEqual([output.shape, output.datatype, output.contents], [shape, datatype, null]);
      t.deepEqual(response.raw_output_contents[index], bytes, output.name);
    }
    if (asked.inputs.some(({ contents }) => contents === undefined)) return;
    const typed = await client.call('ModelInfer', {
      ...request,
      inputs: asked.inputs.map((input) => ({ ...head(input), contents: input.contents })),
    });
    t.is(typed.status, 'OK', typed.details);
    t.deepEqual(typed.response.raw_output_contents, []);
    for (const output of typed.response.outputs) {
      const { datatype, bytes } = expected.outputs[output.name] as { datatype: string; bytes: Buffer };
      const [field, values] = kinds[datatype]?.(bytes) ?? t.fail(datatype);
      t.deepEqual(output.contents[field], values, output.name);
    }
  });
}

const one = { name: 'x', shape: [1, 3, 16, 16], datatype: 'FP32' };
const bytes = raw(noise(pixels));

test.serial('id, version and parameters of the answer', async (t) => {
  const { response, headers, trailers } = await client.call(
    'ModelInfer',
    {
      model_name: 'tiny',
      model_version: '1',
      id: 'a-1',
      inputs: [one],
      raw_input_contents: [bytes],
      parameters: parameters({ class: 1 }),
    },
    { metadata: { 'x-request-id': 'mine-7' } },
  );
  t.like(response, { model_name: 'tiny', model_version: '1', id: 'a-1' });
  t.is(response.parameters.method.string_param, 'gradcam');
  t.is(response.parameters.batch_size.int64_param, 1);
  t.is(typeof response.parameters.compute_ms.double_param, 'number');
  t.is(headers['x-request-id'], 'mine-7');
  t.is(trailers['x-request-id'], 'mine-7');
});

test.serial('an answer is raw or typed as it asks to be', async (t) => {
  const ask = async (given: Message) => {
    const { response } = await client.call('ModelInfer', { model_name: 'tiny', inputs: [one], ...given });
    return response.raw_output_contents.length;
  };
  const typed = { inputs: [{ ...one, contents: { fp32_contents: [...noise(pixels)] } }] };
  const sent = { raw_input_contents: [bytes] };
  t.is(await ask(sent), 1);
  t.is(await ask({ ...sent, parameters: parameters({ binary_data_output: false }) }), 0);
  t.is(await ask(typed), 0);
  t.is(await ask({ ...typed, parameters: parameters({ binary_data_output: true }) }), 1);
  t.is(
    await ask({ ...typed, outputs: [{ name: 'output', parameters: parameters({ binary_data: true }) }] }),
    1,
  );
});

test.serial('the server, its health and its models, as over HTTP', async (t) => {
  const json = async (path: string) => (await running.get(path)).json() as Promise<Message>;
  const ask = async (method: string, request: Message = {}) => (await client.call(method, request)).response;
  t.deepEqual(await ask('ServerLive'), { live: true });
  t.deepEqual(await ask('ServerReady'), { ready: true });
  t.deepEqual(await ask('ModelReady', { name: 'tiny', version: '1' }), { ready: true });
  t.deepEqual(await ask('ServerMetadata'), await json('/v2'));
  for (const name of ['lite', 'tiny'])
    t.deepEqual(await ask('ModelMetadata', { name }), await json(`/v2/models/${name}`));
  const index = await (await running.post('/v2/repository/index', {})).json();
  t.deepEqual((await ask('RepositoryIndex')).models, index);
});

test.serial("a model's configuration and statistics, as Triton tells them", async (t) => {
  const { response: told } = await client.call('ModelConfig', { name: 'lite' });
  t.like(told.config, {
    name: 'lite',
    platform: 'pytorch_torchscript',
    max_batch_size: 4,
    version_policy: { latest: { num_versions: 1 } },
    dynamic_batching: { max_queue_delay_microseconds: 0 },
  });
  t.deepEqual(told.config.input, [
    { name: 'input', data_type: 'TYPE_FP32', format: 'FORMAT_NCHW', dims: [3, 224, 224] },
  ]);
  t.like(told.config.instance_group[0], { kind: 'KIND_CPU', count: 1, gpus: [] });
  const statistics = async () => {
    const { response } = await client.call('ModelStatistics', { name: 'tiny', version: '1' });
    t.is(response.model_stats.length, 1);
    return response.model_stats[0];
  };
  const before = await statistics();
  const began = Date.now();
  const request = { model_name: 'tiny', inputs: [one], parameters: parameters({ class: 1 }) };
  await client.call('ModelInfer', { ...request, raw_input_contents: [bytes] });
  await client.call('ModelInfer', { ...request, raw_input_contents: [bytes.subarray(4)] });
  const after = await statistics();
  t.is(after.inference_stats.success.count - before.inference_stats.success.count, 1);
  t.is(after.inference_stats.fail.count - before.inference_stats.fail.count, 1);
  t.is(after.inference_count - before.inference_count, 1);
  t.is(after.execution_count - before.execution_count, 1);
  t.true(after.inference_stats.compute_infer.ns > before.inference_stats.compute_infer.ns);
  t.true(after.last_inference >= began && after.last_inference <= Date.now());
  const { response: all } = await client.call('ModelStatistics');
  t.deepEqual(
    all.model_stats.map(({ name }: Message) => name),
    ['lite', 'tiny'],
  );
});

test.serial('a stream answers in order, and tells failures in their answers', async (t) => {
  const stream = client.stream();
  const { answers, ended } = answersOf(stream);
  const asked = (index: number) => ({ class: index % 5, method: index % 2 ? 'gradcam' : 'scorecam' });
  const ids = Array.from({ length: 40 }, (_, index) => `r-${index}`);
  for (const [index, id] of ids.entries()) {
    const wrong = index % 10 === 3;
    stream.write({
      model_name: index % 10 === 7 ? 'nothing' : 'tiny',
      id,
      inputs: [one],
      // The first of them wait longest for a batch of their own.
      raw_input_contents: [wrong ? bytes.subarray(8) : raw(noise(pixels, index))],
      parameters: parameters(asked(index)),
      outputs: [{ name: 'heatmap' }],
    });
  }
  stream.end();
  t.is(await ended, 'OK');
  t.deepEqual(
    answers.map(({ infer_response }) => infer_response.id),
    ids,
  );
  for (const [index, { error_message: error, infer_response: response }] of answers.entries()) {
    const { 'gradcam-code': code, triton_final_response: final } = response.parameters;
    t.true(final.bool_param);
    if (index % 10 === 3) {
      t.regex(error, /holds 3064 bytes/);
      t.is(code.string_param, 'ERR_INVALID_REQUEST');
    } else if (index % 10 === 7) t.is(code.string_param, 'ERR_UNKNOWN_MODEL');
    else t.is(error, '');
  }
  // Batches differ in the last bits; that a map is its own image's shows in which one is nearest.
  const good = [...answers.keys()].filter((index) => ![3, 7].includes(index % 10));
  const alone = new Map<number, Float32Array>();
  for (const index of good) {
    const { outputs } = await overHttp({
      inputs: [{ ...one, values: noise(pixels, index) }],
      parameters: asked(index),
      outputs: ['heatmap'],
    });
    alone.set(index, floatsOf(outputs.heatmap?.bytes ?? null));
  }
  t.true(new Set([...alone.values()].map(String)).size > good.length / 2);
  for (const index of good) {
    const [map] = (answers[index] as Message).infer_response.raw_output_contents as [Buffer];
    const given = new Float32Array(new Uint8Array(map).buffer);
    const distance = (other: number) =>
      Math.hypot(...given.map((value, place) => value - (alone.get(other)?.[place] ?? Number.NaN)));
    t.is(Math.min(...good.map(distance)), distance(index), `r-${index}`);
  }
});

test.serial('what Triton has besides is told to be missing', async (t) => {
  const paths = (await readFile(fixturePath('../../lib/server/grpc/open_inference.proto'), 'utf8')).match(
    /rpc \w+/g,
  );
  t.is(paths?.length, 12);
  for (const method of [
    'TraceSetting',
    'LogSettings',
    'SystemSharedMemoryStatus',
    'CudaSharedMemoryRegister',
  ]) {
    const told = await new Promise<{ code?: number; details?: string }>((resolve) => {
      const same = (value: Buffer) => value;
      const path = `/inference.GRPCInferenceService/${method}`;
      client.channel.makeUnaryRequest(path, same, same, Buffer.alloc(0), (error) => resolve(error ?? {}));
    });
    t.is(told.code, 12, method);
    t.regex(told.details ?? '', new RegExp(`${method} is not supported`));
  }
});
