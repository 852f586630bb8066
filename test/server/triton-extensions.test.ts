import { copyFile, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { loadModel, Tensor } from 'node-gradcam';
import { liteModel, noise } from '../helpers/fixtures.js';
import { fixturePath } from '../helpers/root.js';
import {
  binaryInference,
  floatsOf,
  type RunningServer,
  readInference,
  startServer,
} from '../helpers/server.js';

// What Triton's clients ask for besides inferences, as its protocol extensions describe it. tools/checks/clients runs the
// clients themselves.

const tiny = fixturePath('scripted.pt');
const shape = [1, 3, 16, 16];
const size = 3 * 16 * 16;
const input = { name: 'input', shape, datatype: 'FP32' };
const folder = await mkdtemp(join(tmpdir(), 'gradcam triton-'));
/** What the server logs as its own failures. */
const defects: string[] = [];
let running: RunningServer;
test.before(async () => {
  for (const dtype of ['float16', 'bfloat16', 'float64']) {
    await copyFile(tiny, join(folder, `${dtype}.pt`));
    await writeFile(
      join(folder, `${dtype}.json`),
      JSON.stringify({ input: { width: 16, height: 16 }, dtype }),
    );
  }
  running = await startServer({
    models: { lite: liteModel, tiny: { path: tiny, maxBatch: 3, maxDelayMs: 2 } },
    logger: { level: 'error', stream: { write: (line: string) => void defects.push(line) } },
    modelRepository: folder,
    modelControl: true,
    insecure: true,
  });
});
test.afterEach((t) => t.deepEqual(defects, []));
test.after.always(() => running.server.close());

const json = async (path: string) => {
  const response = await running.get(path);
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
};
/** As Triton's clients send it: JSON of which no type is said. */
const untyped = async (path: string, body: unknown) => {
  const response = await running.post(path, Buffer.from(JSON.stringify(body)));
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
};
const predict = async (model: string, parameters: object = { binary_data_output: true }) => {
  const { body, headers } = binaryInference({ inputs: [input], parameters }, noise(size));
  return await running.post(`/v2/models/${model}/infer`, body, headers);
};

test.serial("the configuration of a model is in Triton's words", async (t) => {
  const { status, body } = await json('/v2/models/lite/config');
  t.is(status, 200);
  t.deepEqual(await json('/v2/models/lite/versions/1/config'), { status, body });
  t.is((await json('/v2/models/lite/versions/2/config')).status, 404);
  t.is((await json('/v2/models/none/config')).status, 404);
  t.like(body, {
    name: 'lite',
    platform: 'pytorch_torchscript',
    max_batch_size: 8,
    input: [{ name: 'input', data_type: 'TYPE_FP32', dims: [3, 224, 224], format: 'FORMAT_NCHW' }],
    instance_group: [{ name: 'lite', kind: 'KIND_CPU', count: 1, gpus: [] }],
  });
  t.deepEqual(body.output, [
    { name: 'output', data_type: 'TYPE_FP32', dims: [1000] },
    { name: 'heatmap', data_type: 'TYPE_FP32', dims: [224, 224] },
    { name: 'scores', data_type: 'TYPE_FP32', dims: [] },
    { name: 'classes', data_type: 'TYPE_INT64', dims: [] },
    { name: 'images', data_type: 'TYPE_INT64', dims: [] },
  ]);
  t.like((await json('/v2/models/tiny/config')).body, {
    max_batch_size: 3,
    dynamic_batching: { max_queue_delay_microseconds: 2000 },
  });
});

interface Duration {
  readonly count: number;
  readonly ns: number;
}
interface Statistics {
  readonly name: string;
  readonly version: string;
  readonly last_inference: number;
  readonly inference_count: number;
  readonly execution_count: number;
  readonly inference_stats: Readonly<Record<string, Duration>>;
}
const statistics = async (path: string) =>
  (await json(path)).body.model_stats as [Statistics, ...Statistics[]];

test.serial('statistics count what was asked for, and nothing else', async (t) => {
  const base = '/v2/models/tiny/stats';
  const [before] = await statistics(base);
  t.like(before, { name: 'tiny', version: '1', last_inference: 0, inference_count: 0, execution_count: 0 });
  const since = Date.now();
  const images = { ...input, shape: [4, 3, 16, 16] };
  const { body, headers } = binaryInference({ inputs: [images] }, noise(4 * size));
  // Four images with a largest batch of three: two executions.
  t.is((await running.post('/v2/models/tiny/infer', body, headers)).status, 200);
  t.is((await predict('tiny', { class: 1 })).status, 200);
  t.is((await predict('tiny', { layer: 'nothing' })).status, 400);
  const [after] = await statistics(base);
  t.deepEqual(await statistics('/v2/models/tiny/versions/1/stats'), [after]);
  t.is(after.inference_count, 5);
  t.is(after.execution_count, 3);
  t.true(after.last_inference >= since && after.last_inference <= Date.now());
  const { success, fail, queue, compute_input, compute_infer } = after.inference_stats;
  t.is(success?.count, 2);
  t.is(fail?.count, 1);
  t.is(queue?.count, 3); // predictions wait for batches as explains do
  t.is(compute_infer?.count, 3);
  t.is(compute_input?.count, 6); // to read the tensors and to cut them, of the failed one too
  for (const { ns } of [success, fail, compute_infer] as Duration[]) t.true(Number.isInteger(ns) && ns > 0);
  t.true((success?.ns ?? 0) >= (compute_infer?.ns ?? 0) / 2);
  const all = await statistics('/v2/models/stats');
  t.deepEqual(all.map(({ name }) => name).sort(), ['lite', 'tiny']);
  t.is((await json('/v2/models/none/stats')).status, 404);
});

test.serial(
  "a repository by request: untyped bodies, the ready ones only, no files of the client's",
  async (t) => {
    const names = async (body: object) => {
      const response = await untyped('/v2/repository/index', body);
      t.is(response.status, 200);
      return (response.body as unknown as { name: string }[]).map(({ name }) => name).sort();
    };
    t.deepEqual(await names({}), ['bfloat16', 'float16', 'float64', 'lite', 'tiny']);
    t.deepEqual(await names({ ready: true }), ['lite', 'tiny']);
    const load = '/v2/repository/models/float64/load';
    for (const parameters of [{ config: '{}' }, { 'file:1/model.pt': 'AAAA' }])
      t.like(await untyped(load, { parameters }), { status: 501, body: { code: 'ERR_UNSUPPORTED' } });
    t.is((await untyped(load, {})).status, 200);
    const unload = '/v2/repository/models/float64/unload';
    t.is((await untyped(unload, { parameters: { unload_dependents: false } })).status, 200);
    t.is((await json('/v2/models/float64/ready')).status, 503);
  },
);

for (const [dtype, datatype, widen] of [
  ['bfloat16', 'BF16', (bits: number) => new Float32Array(Uint32Array.of(bits << 16).buffer)[0]],
  [
    'float16',
    'FP16',
    (bits: number) => {
      const exponent = (bits >> 10) & 31;
      const value =
        exponent === 0 ? (bits & 1023) * 2 ** -24 : (1 + (bits & 1023) / 1024) * 2 ** (exponent - 15);
      return bits >> 15 ? -value : value;
    },
  ],
] as const) {
  test.serial(`the output of a model in ${dtype} is ${datatype}, in bytes and in numbers`, async (t) => {
    t.is((await untyped(`/v2/repository/models/${dtype}/load`, {})).status, 200);
    await using model = await loadModel(tiny, { dtype });
    const expected = (await model.forward(Tensor.from(noise(size), shape))) as Tensor;
    const values = expected.toTypedArray() as Float32Array;
    t.true(values.length > 1 && values.some((value) => value !== 0));
    const { outputs } = await readInference(await predict(dtype));
    t.is(outputs.output?.datatype, datatype);
    const bytes = outputs.output?.bytes as Buffer;
    t.is(bytes.length, 2 * values.length);
    const bits = new Uint16Array(bytes.buffer, bytes.byteOffset, values.length);
    t.deepEqual(
      Float32Array.from(bits, (each) => widen(each) as number),
      values,
    );
    t.deepEqual(
      Float32Array.from((await readInference(await predict(dtype, {}))).outputs.output?.data ?? []),
      values,
    );
    // Maps are in single precision whatever the model is in.
    const explained = await readInference(await predict(dtype, { class: 1, binary_data_output: true }));
    t.is(explained.outputs.output?.datatype, datatype);
    t.is(explained.outputs.heatmap?.datatype, 'FP32');
    t.is(floatsOf(explained.outputs.heatmap?.bytes ?? null).length, 16 * 16);
    const { outputs: described } = (await json(`/v2/models/${dtype}`)).body as {
      outputs: [{ name: string; datatype: string; shape: number[] }];
    };
    t.deepEqual(described[0], { name: 'output', datatype, shape: [-1, values.length] });
  });
}

test.serial("the deadline may have Triton's name, in microseconds", async (t) => {
  const late = await predict('lite', { timeout: 1 });
  t.is(late.status, 504);
  t.is((await predict('tiny', { timeout: 0, priority: 1, sequence_id: 7 })).status, 200);
});

test.serial('extensions that there are not are told by 501', async (t) => {
  const region = { key: '/x', offset: 0, byte_size: 64 };
  for (const [method, path, body] of [
    ['GET', '/v2/trace/setting'],
    ['POST', '/v2/trace/setting', { trace_level: ['TIMESTAMPS'] }],
    ['GET', '/v2/models/tiny/trace/setting'],
    ['GET', '/v2/logging'],
    ['POST', '/v2/logging', { log_verbose_level: 1 }],
    ...['system', 'cuda'].flatMap(
      (kind) =>
        [
          ['GET', `/v2/${kind}sharedmemory/status`],
          ['GET', `/v2/${kind}sharedmemory/region/a/status`],
          ['POST', `/v2/${kind}sharedmemory/region/a/register`, region],
          ['POST', `/v2/${kind}sharedmemory/region/a/unregister`],
          ['POST', `/v2/${kind}sharedmemory/unregister`],
        ] as [string, string, object?][],
    ),
  ] as [string, string, object?][]) {
    const response = await running.get(path, {
      method,
      ...(body ? { body: Buffer.from(JSON.stringify(body)) } : {}),
    });
    t.is(response.status, 501, path);
    t.like(await response.json(), { code: 'ERR_UNSUPPORTED' }, path);
  }
  const data = Array.from(noise(size));
  const shared = { shared_memory_region: 'a', shared_memory_byte_size: 4 * size };
  for (const body of [
    { inputs: [{ ...input, parameters: shared }] },
    { inputs: [{ ...input, data }], outputs: [{ name: 'output', parameters: shared }] },
    { inputs: [{ ...input, data }], outputs: [{ name: 'output', parameters: { classification: 3 } }] },
  ])
    t.like(await untyped('/v2/models/tiny/infer', body), { status: 501, body: { code: 'ERR_UNSUPPORTED' } });
});
