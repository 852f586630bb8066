import test from 'ava';
import sharp from 'sharp';
import { holdExecutor } from '../helpers/hold-executor.js';
import { fixturePath } from '../helpers/root.js';
import { binaryInference, photo, type RunningServer, startServer } from '../helpers/server.js';
import { jobsOf, metric } from '../helpers/server-requests.js';
import { until } from '../helpers/until.js';

// What one request may take, and what is left running of one that failed.

const tiny = fixturePath('scripted.pt');
const mebibyte = 1024 ** 2;
const b64 = photo.toString('base64');

type Running = Pick<RunningServer, 'get'>;
const explained = (running: Running) => metric(running, /^nv_inference_count\{.*\} (\d+)$/m);
const pending = (running: Running) => metric(running, /^nv_inference_pending_request_count (\d+)/m);
const pendingBytes = (running: Running) => metric(running, /^gradcam_pending_bytes (\d+)/m);

async function failure(response: Response): Promise<{ status: number; code: string; error: string }> {
  const { code, error } = (await response.json()) as { code: string; error: string };
  return { status: response.status, code, error };
}

// Of 224 x 224 values, a picture takes 0.57 MiB; a map 1.15 MiB as JSON numbers, 0.48 as base64 and 0.38 as bytes.
const limits = { models: { lite: tiny }, maxWorkBytes: 4 * mebibyte };

test.serial(
  'KServe V1: maps that an answer has no room for are refused before anything is computed',
  async (t) => {
    await using running = await startServer(limits);
    const before = await explained(running);
    const ask = (more: object) =>
      running.post('/v1/models/lite:explain', { instances: [{ b64 }], class: [0, 1, 2, 3, 4], ...more });
    const refused = await failure(await ask({ heatmap: 'array' }));
    t.is(refused.status, 413);
    t.is(refused.code, 'ERR_TOO_LARGE');
    t.regex(refused.error, /^5 maps would take the request to 7 MiB of memory, but one may take 4 MiB/);
    t.is(await explained(running), before);

    t.is((await ask({ heatmap: 'base64' })).status, 200);
    t.is((await ask({ heatmap: 'array', class: [0, 1] })).status, 200);
    const small = await ask({ heatmap: 'array', upsample: false });
    t.is(small.status, 200, 'maps of the size of the layer are small');
    const instances = Array.from({ length: 8 }, () => ({ b64 }));
    t.is((await running.post('/v1/models/lite:predict', { instances })).status, 413);
    await until('all memory to be given back', async () => (await pendingBytes(running)) === 0);
  },
);

test.serial('Open Inference Protocol: the same, also of outputs', async (t) => {
  await using running = await startServer(limits);
  const before = await explained(running);
  const infer = (images: number, json: object) => {
    const inputs = [{ name: 'input', shape: [images, 3, 224, 224], datatype: 'FP32' }];
    const { body, headers } = binaryInference(
      { inputs, ...json },
      new Float32Array(images * 3 * 224 * 224).fill(0.5),
    );
    return running.post('/v2/models/lite/infer', body, headers);
  };
  const heatmap = (binary: boolean) => ({
    outputs: [{ name: 'heatmap', parameters: { binary_data: binary } }],
  });
  const refused = await failure(await infer(4, heatmap(false)));
  t.is(refused.status, 413);
  t.regex(refused.error, /^4 maps of 224 x 224 would take the request to 5 MiB/);
  t.is(await explained(running), before);
  t.is((await infer(4, heatmap(true))).status, 200);
  // Five numbers an image.
  t.is((await infer(4, {})).status, 200);
});

test.serial('plain: a photo in its own size counts as often as it is drawn', async (t) => {
  await using running = await startServer({ ...limits, maxWorkBytes: 16 * mebibyte });
  const before = await explained(running);
  // 2.25 million pixels of three bytes.
  const large = await sharp({ create: { width: 1500, height: 1500, channels: 3, background: '#808080' } })
    .jpeg()
    .toBuffer();
  const ask = (query: string) => running.post(`/explain/lite?original=true&${query}`, large);
  const refused = await failure(await ask('top=3'));
  t.is(refused.status, 413);
  t.regex(refused.error, /^3 maps of 1500 x 1500 would take the request to 20 MiB/);
  t.is((await failure(await ask('top=2&format=npy'))).status, 413, 'four bytes a value');
  t.is(await explained(running), before);
  const answer = await ask('top=1');
  t.is(answer.status, 200);
  const { width, height } = await sharp(Buffer.from(await answer.arrayBuffer())).metadata();
  t.deepEqual([width, height], [1500, 1500]);
  const small = await ask('top=3&format=json');
  t.is(small.status, 200, 'whose maps are of the size that the model sees');
  await small.arrayBuffer(); // else the server waits for whoever reads it
});

test.serial('the queue counts maps, and the requests on their way share its memory', async (t) => {
  await using running = await startServer({ models: { lite: tiny }, maxPending: 6 });
  await using executor = await holdExecutor();
  const query = Array.from({ length: 4 }, (_, index) => `class=${index}`).join('&');
  const four = running.post(`/explain/lite?format=json&${query}`, photo);
  await until('four maps to be on their way', async () => (await pending(running)) === 4);
  const refused = await failure(await running.post(`/explain/lite?format=json&top=3`, photo));
  t.is(refused.status, 503);
  t.is(refused.code, 'ERR_BUSY');
  const never = await failure(await running.post(`/explain/lite?format=json&top=7`, photo));
  t.is(never.status, 413);
  t.regex(never.error, /asks for 7 maps or predictions, but at most 6/);
  await executor.release();
  t.is((await four).status, 200);
  await until('the queue to be empty', async () => (await pending(running)) === 0);
});

test.serial(
  'when one part fails, its siblings are not explained, and the answer does not wait for them',
  async (t) => {
    await using running = await startServer({ models: { lite: tiny } });
    const before = await explained(running);
    await using executor = await holdExecutor();
    const instances = Array.from({ length: 40 }, (_, index) => ({
      b64: index === 39 ? 'bm90aGluZw==' : b64,
    }));
    const refused = await failure(await running.post('/v1/models/lite:explain', { instances }));
    t.is(refused.code, 'ERR_IMAGE_LOAD');
    await executor.release();
    await until('the places of all parts to be free', async () => (await pending(running)) === 0);
    const { waiting, running: busy } = jobsOf(running);
    t.deepEqual([waiting, busy], [0, 0]);
    t.is(await explained(running), before);

    const texts = instances.map((each) => each.b64);
    const input = { name: 'input', shape: [40], datatype: 'BYTES', data: texts };
    const again = await failure(
      await running.post('/v2/models/lite/infer', { inputs: [input], outputs: [{ name: 'scores' }] }),
    );
    t.is(again.code, 'ERR_IMAGE_LOAD');
    await until('the places of all parts to be free', async () => (await pending(running)) === 0);
    t.is(await explained(running), before);
  },
);

test.serial('a model that is unloaded waits for what is given up', async (t) => {
  await using running = await startServer({ models: { lite: tiny }, modelControl: true, insecure: true });
  const { model } = running.server.gradcamModels.get('lite');
  const executor = await holdExecutor();
  const answer = running.post('/explain/lite?deadline_ms=300', photo);
  t.is((await answer).status, 504);
  const unloaded = running.post('/v2/repository/models/lite/unload', {});
  await executor.release();
  t.is((await unloaded).status, 200);
  t.true(model.disposed);
});

const nested = (depth: number) => `${'['.repeat(depth)}1${']'.repeat(depth)}`;

for (const [protocol, path, bodyOf] of [
  ['KServe V1', '/v1/models/lite:predict', (data: string) => `{"instances": [${data}]}`],
  [
    'Open Inference Protocol',
    '/v2/models/lite/infer',
    (data: string) => `{"inputs": [{"name": "input", "shape": [1], "datatype": "FP32", "data": ${data}}]}`,
  ],
] as const) {
  test.serial(
    `${protocol}: JSON that announces more than it holds, or is nested deep, is the client's mistake`,
    async (t) => {
      await using running = await startServer({ models: { lite: tiny } });
      const ask = async (body: string) =>
        await failure(
          await running.get(path, { method: 'POST', body, headers: { 'content-type': 'application/json' } }),
        );
      const row = `[${Array(3000).fill(0).join(',')}]`;
      const wide = `[[${row}${',0'.repeat(2999)}]${',0'.repeat(2999)}]`;
      for (const data of [
        wide,
        nested(9),
        nested(200_000),
        '[]',
        '[[], []]',
        '[[1], 2]',
        '[[1, 2], [3]]',
        '["a"]',
      ]) {
        const { status, code } = await ask(bodyOf(data));
        t.deepEqual([status, code], [400, 'ERR_INVALID_REQUEST'], data.slice(0, 40));
      }
      const { status, code } = await ask(`{"deep": ${nested(100_000)}, ${bodyOf('[1]').slice(1)}`);
      t.deepEqual([status, code], [400, 'ERR_INVALID_REQUEST']);
      t.is((await ask(`{"instances": [`)).code, 'ERR_INVALID_REQUEST');
      t.is((await running.get('/v2/health/live')).status, 200);
    },
  );
}

test.serial('large bodies and answers as JSON hold the same numbers as small ones', async (t) => {
  await using running = await startServer({ models: { lite: tiny } });
  const values = Array.from({ length: 3 * 160 * 160 }, (_, index) => Math.sin(index) / 3);
  const plane = (channel: number) =>
    Array.from({ length: 160 }, (_, y) =>
      values.slice((channel * 160 + y) * 160, (channel * 160 + y + 1) * 160),
    );
  const instance = [plane(0), plane(1), plane(2)];
  type Explained = { explanations: { maps: { heatmap: number[][] | string; score: number }[] }[] };
  const ask = async (heatmap: string, instances: unknown[]) =>
    (await (
      await running.post('/v1/models/lite:explain', { instances, heatmap, class: [0, 1, 2] })
    ).json()) as Explained;
  // Beyond 1 MiB of body and 60,000 numbers of answer another thread reads and writes.
  t.true(JSON.stringify({ instances: [instance] }).length > 1024 ** 2);
  const written = await ask('array', [instance]);
  const bytes = await ask('base64', [instance]);
  const maps = written.explanations[0]?.maps ?? [];
  t.is(maps.length, 3);
  for (const [index, map] of maps.entries()) {
    const buffer = Buffer.from(String(bytes.explanations[0]?.maps[index]?.heatmap), 'base64');
    const expected = new Float32Array(new Uint8Array(buffer).buffer);
    t.is(expected.length, 160 * 160);
    t.deepEqual(Float32Array.from((map.heatmap as number[][]).flat()), expected);
  }
  const data = values;
  const infer = async (binary: boolean) => {
    const inputs = [{ name: 'input', shape: [1, 3, 160, 160], datatype: 'FP32' }];
    const json = { parameters: { class: 0 }, outputs: [{ name: 'scores' }] };
    if (!binary)
      return await running.post('/v2/models/lite/infer', { inputs: [{ ...inputs[0], data }], ...json });
    const { body, headers } = binaryInference({ inputs, ...json }, Float32Array.from(data));
    return await running.post('/v2/models/lite/infer', body, headers);
  };
  const [one, other] = (await Promise.all(
    [false, true].map(async (binary) => await (await infer(binary)).json()),
  )) as { outputs: { data: number[] }[] }[];
  t.is(one?.outputs[0]?.data.length, 1);
  t.deepEqual(one?.outputs[0]?.data, other?.outputs[0]?.data);
  t.is(one?.outputs[0]?.data[0], maps[0]?.score);
});
