import { copyFile, mkdtemp, readFile, rename, symlink, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import Fastify from 'fastify';
import { GradCAM, LayerCAM, loadModel } from 'node-gradcam';
import { createServer, explainServer, readServerConfiguration } from 'node-gradcam/server';
import { fixturePath, noise } from './helpers/fixtures.js';
import {
  binaryInference,
  floatsOf,
  liteModel,
  photo,
  type RunningServer,
  readInference,
  startServer,
} from './helpers/server.js';

const newFolder = () => mkdtemp(join(tmpdir(), 'gradcam-server-'));
const image = (seed: number) =>
  binaryInference(
    {
      inputs: [{ name: 'input', shape: [1, 3, 224, 224], datatype: 'FP32' }],
      parameters: { class: seed, binary_data_output: true },
      outputs: [{ name: 'heatmap' }],
    },
    noise(3 * 224 * 224, seed),
  );
/** The whole answer: one that is not read keeps its connection. */
const infer = async (running: RunningServer, seed: number, model = 'lite'): Promise<Response> => {
  const { body, headers } = image(seed);
  const response = await running.post(`/v2/models/${model}/infer`, body, headers);
  return new Response(await response.arrayBuffer(), response);
};
async function metric(running: RunningServer, line: RegExp): Promise<number> {
  const found = line.exec(await (await running.get('/metrics')).text());
  return found ? Number(found[1]) : Number.NaN;
}
async function eventually(
  t: ExecutionContext,
  what: string,
  condition: () => Promise<boolean> | boolean,
  ms = 15_000,
) {
  const end = performance.now() + ms;
  while (!(await condition())) {
    if (performance.now() > end) return t.fail(`not in time: ${what}`);
    await sleep(25);
  }
  t.pass();
}

test.serial('requests of many connections share batches, each with its own class', async (t) => {
  await using running = await startServer();
  const before = await metric(running, /^nv_inference_count\{.*\} (\d+)$/m);
  const batches = await metric(running, /^nv_inference_exec_count\{.*\} (\d+)$/m);
  const responses = await Promise.all(Array.from({ length: 24 }, (_, index) => infer(running, index + 1)));
  t.true(responses.every(({ status }) => status === 200));
  t.is((await metric(running, /^nv_inference_count\{.*\} (\d+)$/m)) - before, 24);
  const used = (await metric(running, /^nv_inference_exec_count\{.*\} (\d+)$/m)) - batches;
  t.true(used >= 3 && used <= 12, `${used} batches`);
});

test.serial('what shares batches is what the library gives for each alone', async (t) => {
  await using running = await startServer();
  const ask = async (seed: number, method: string) => {
    const { body, headers } = binaryInference(
      {
        inputs: [{ name: 'input', shape: [1, 3, 224, 224], datatype: 'FP32' }],
        parameters: { class: seed * 40, method, binary_data_output: true },
        outputs: [{ name: 'heatmap' }],
      },
      noise(3 * 224 * 224, seed),
    );
    const { json, outputs } = await readInference(await running.post('/v2/models/lite/infer', body, headers));
    return {
      seed,
      method,
      map: floatsOf(outputs.heatmap?.bytes ?? null),
      batch: Number(json.parameters?.batch_size),
    };
  };
  const methods = { gradcam: GradCAM, layercam: LayerCAM };
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, index) => ask(index + 1, index % 2 ? 'gradcam' : 'layercam')),
  );
  t.true(
    answers.some(({ batch }) => batch >= 4),
    answers.map(({ batch }) => batch).join(),
  );
  await using model = await loadModel(liteModel, { dtype: 'float32' });
  for (const { seed, method, map } of answers) {
    const cam = new methods[method as keyof typeof methods]({ model });
    const input = { data: noise(3 * 224 * 224, seed), shape: [1, 3, 224, 224] };
    using alone = await cam.explain(input, { targets: seed * 40 });
    const expected = alone.heatmaps.toTypedArray() as Float32Array;
    t.is(map.length, expected.length);
    const largest = map.reduce(
      (most, value, at) => Math.max(most, Math.abs(value - (expected[at] ?? Number.NaN))),
      0,
    );
    t.true(largest < 1e-5, `image ${seed}, ${method}: ${largest}`);
  }
});

test.serial('a model that is no classifier predicts, and says why it does not explain', async (t) => {
  const folder = await newFolder();
  await copyFile(fixturePath('dict-output.pt'), join(folder, 'dense.pt'));
  await writeFile(join(folder, 'dense.json'), JSON.stringify({ input: { width: 16, height: 16 } }));
  await using running = await startServer({ models: { dense: join(folder, 'dense.pt') }, maxPending: 10 });
  const b64 = photo.toString('base64');
  t.is((await running.post('/v1/models/dense:predict', { instances: [{ b64 }] })).status, 200);
  const refused = await running.post('/v1/models/dense:explain', { instances: [{ b64 }] });
  t.is(refused.status, 400);
  t.is(((await refused.json()) as { code: string }).code, 'ERR_OUTPUT_SELECTOR');
  // More in one request than there will ever be room for: trying again would not help.
  const many = await running.post('/v1/models/dense:predict', { instances: Array(11).fill({ b64 }) });
  t.is(many.status, 413);
  t.regex(((await many.json()) as { error: string }).error, /11 images, but at most 10/);
});

test.serial("metrics have KServe's and Triton's names", async (t) => {
  await using running = await startServer();
  await running.post('/explain/lite', photo);
  await running.post('/v1/models/lite:predict', { instances: [{ b64: photo.toString('base64') }] });
  await running.post('/explain/lite?layer=nothing', photo);
  const response = await running.get('/metrics');
  t.regex(response.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
  const text = await response.text();
  for (const line of [
    /^request_preprocess_seconds_count\{model_name="lite"\} 3$/m,
    /^request_explain_seconds_count\{model_name="lite"\} 1$/m,
    /^request_predict_seconds_count\{model_name="lite"\} 1$/m,
    /^request_postprocess_seconds_count\{model_name="lite"\} 1$/m,
    /^nv_inference_request_success\{model="lite",version="1"\} 2$/m,
    /^nv_inference_request_failure\{model="lite",version="1",reason="OTHER"\} 1$/m,
    /^nv_inference_count\{model="lite",version="1"\} \d+$/m,
    /^nv_inference_exec_count\{model="lite",version="1"\} \d+$/m,
    /^nv_inference_pending_request_count 0$/m,
    /^nv_inference_queue_duration_us\{.*\} \d+$/m,
    /^nv_inference_compute_infer_duration_us\{.*\} [1-9]\d+$/m,
    /^http_requests_total\{method="POST",route="\/explain\/:model",status="400"\} 1$/m,
    /^gradcam_model_ready\{model_name="lite"\} 1$/m,
    /^process_resident_memory_bytes \d+$/m,
  ])
    t.regex(text, line);
});

test.serial('a full queue refuses at once, and has room again', async (t) => {
  await using running = await startServer({ maxPending: 4 });
  const started = performance.now();
  const answers = await Promise.all(
    Array.from({ length: 24 }, async (_, index) => {
      const response = await infer(running, index + 1);
      await response.arrayBuffer();
      return {
        status: response.status,
        retry: response.headers.get('retry-after'),
        ms: performance.now() - started,
      };
    }),
  );
  const refused = answers.filter(({ status }) => status === 503);
  const accepted = answers.filter(({ status }) => status === 200);
  t.is(refused.length + accepted.length, 24);
  t.true(accepted.length >= 4 && refused.length >= 4, `${accepted.length} accepted`);
  t.true(refused.every(({ retry }) => Number(retry) >= 1 && Number(retry) <= 60));
  t.is(await metric(running, /^nv_inference_request_failure\{.*reason="REJECTED"\} (\d+)$/m), refused.length);
  t.is((await infer(running, 1)).status, 200);
});

test.serial('bodies are refused beyond the memory that is set aside for them', async (t) => {
  await using running = await startServer({ maxPendingBytes: 900_000 });
  const statuses = (await Promise.all([1, 2, 3, 4].map((seed) => infer(running, seed)))).map(
    ({ status }) => status,
  );
  t.true(statuses.includes(503) && statuses.includes(200), statuses.join());
});

test.serial(
  'a deadline ends a request with 504, whatever the protocol, and the server goes on',
  async (t) => {
    await using running = await startServer();
    const { body } = image(1);
    const b64 = photo.toString('base64');
    const answers = await Promise.all([
      running.post('/explain/lite?method=scorecam&deadline_ms=40', photo),
      running.post('/v1/models/lite:explain', { instances: [{ b64 }], method: 'scorecam', deadline_ms: 40 }),
      running.post('/v2/models/lite/infer', {
        inputs: [{ name: 'i', shape: [1], datatype: 'BYTES', data: [b64] }],
        parameters: { method: 'scorecam', deadline_ms: 40 },
      }),
    ]);
    for (const answer of answers) {
      t.is(answer.status, 504);
      t.is(((await answer.json()) as { code: string }).code, 'ERR_DEADLINE_EXCEEDED');
    }
    t.true(body.length > 0);
    await eventually(
      t,
      'nothing is pending',
      async () => (await metric(running, /^nv_inference_pending_request_count (\d+)/m)) === 0,
    );
    t.is(await metric(running, /^nv_inference_request_failure\{.*reason="CANCELED"\} (\d+)$/m), 3);
    t.is((await infer(running, 1)).status, 200);
  },
);

test.serial('the work of a client that has gone is dropped', async (t) => {
  await using running = await startServer();
  const client = new AbortController();
  const request = running.get('/explain/lite?method=scorecam', {
    method: 'POST',
    body: new Uint8Array(photo),
    signal: client.signal,
  });
  await sleep(200);
  t.is(await metric(running, /^nv_inference_pending_request_count (\d+)/m), 1);
  client.abort();
  await t.throwsAsync(request, { any: true });
  // ScoreCAM runs this model 1280 times: far more than a minute here.
  await eventually(
    t,
    'it was dropped',
    async () => (await metric(running, /^nv_inference_pending_request_count (\d+)/m)) === 0,
    3000,
  );
  const started = performance.now();
  t.is((await infer(running, 1)).status, 200);
  t.true(performance.now() - started < 5000);
});

test.serial('a body that trickles in is given up with 408', async (t) => {
  await using running = await startServer({ models: { lite: fixturePath('scripted.pt') }, deadlineMs: 1000 });
  const { port, hostname } = new URL(running.url);
  const socket = connect(Number(port), hostname);
  socket.write(
    'POST /explain/lite HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 5000\r\n\r\nabc',
  );
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  await Promise.race([new Promise((resolve) => socket.once('close', resolve)), sleep(8000)]);
  t.regex(Buffer.concat(chunks).toString(), /^HTTP\/1\.1 408 /);
  await eventually(
    t,
    'its room is free',
    async () => (await metric(running, /^nv_inference_pending_request_count (\d+)/m)) === 0,
  );
});

test.serial('bearer tokens guard all but health, page and document', async (t) => {
  await using running = await startServer({
    models: { lite: fixturePath('scripted.pt') },
    tokens: ['correct horse', 'another one'],
  });
  const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
  for (const path of ['/v1/models', '/v2/models/lite', '/explain/lite', '/metrics', '/v2']) {
    const refused = await running.get(path);
    t.is(refused.status, 401, path);
    t.regex(((await refused.json()) as { error: string }).error, /authorization/i);
    t.is(refused.headers.get('www-authenticate'), 'Bearer');
    t.is((await running.get(path, { headers: bearer('wrong') })).status, 401, path);
    t.is((await running.get(path, { headers: bearer('another one') })).status, 200, path);
  }
  t.is((await running.post('/explain/lite', photo)).status, 401);
  t.is((await running.post('/explain/lite', photo, bearer('correct horse'))).status, 200);
  for (const path of ['/v2/health/live', '/v2/health/ready', '/', '/openapi.json'])
    t.is((await running.get(path)).status, 200, path);
});

test.serial('a rate limit answers with 429', async (t) => {
  await using running = await startServer({
    models: { lite: fixturePath('scripted.pt') },
    rateLimit: { max: 3, timeWindowMs: 60_000 },
  });
  const statuses: number[] = [];
  for (let index = 0; index < 5; index++) statuses.push((await running.get('/v1/models')).status);
  t.deepEqual(statuses, [200, 200, 200, 429, 429]);
  t.is((await running.get('/v2/health/live')).status, 200);
});

test.serial('under memory pressure requests are refused, health is not', async (t) => {
  await using running = await startServer({
    models: { lite: fixturePath('scripted.pt') },
    maxRssBytes: 1024 ** 2,
  });
  await eventually(t, 'the pressure was seen', async () => {
    const response = await running.post('/explain/lite', photo);
    return response.status === 503 && response.headers.has('retry-after');
  });
  t.is((await running.get('/v2/health/live')).status, 200);
  t.is((await running.get('/metrics')).status, 200);
});

test.serial('models are loaded and unloaded by request, without losing any', async (t) => {
  const folder = await newFolder();
  await copyFile(fixturePath('scripted.pt'), join(folder, 'tiny.pt'));
  await symlink(fixturePath('traced.pt'), join(folder, 'outside.pt'));
  await writeFile(join(folder, 'broken.pt'), 'not a model');
  await using running = await startServer({
    modelRepository: folder,
    modelControl: true,
    maxBatch: 13,
    maxDelayMs: 500,
  });
  const control = (path: string) => running.post(`/v2/repository/models/${path}`, {});
  t.is((await running.get('/v1/models/tiny')).status, 404);
  t.deepEqual(await (await control('tiny/load')).json(), { name: 'tiny', load: true });
  t.is((await running.get('/v2/models/tiny/ready')).status, 200);
  t.is((await control('outside/load')).status, 404, 'a link out of the repository');
  t.is((await control('..%2f..%2fetc%2fpasswd/load')).status, 400);
  const broken = await control('broken/load');
  t.is(broken.status, 500);
  t.false((await broken.text()).includes(folder), 'no paths for clients');
  t.is((await running.get('/v2/health/ready')).status, 200);

  const accepted = Array.from({ length: 12 }, (_, index) => infer(running, index + 1));
  await eventually(
    t,
    'all are accepted',
    async () => (await metric(running, /^nv_inference_pending_request_count (\d+)/m)) === 12,
  );
  t.deepEqual(await (await control('lite/unload')).json(), { name: 'lite', unload: true });
  t.deepEqual(new Set((await Promise.all(accepted)).map(({ status }) => status)), new Set([200]));
  t.is((await infer(running, 1)).status, 503);
  t.is((await running.get('/v1/models/lite')).status, 503);
  const index = (await (await running.post('/v2/repository/index', {})).json()) as {
    name: string;
    state: string;
  }[];
  t.is(index.find(({ name }) => name === 'lite')?.state, 'UNAVAILABLE');
  t.is(index.find(({ name }) => name === 'tiny')?.state, 'READY');

  const during = infer(running, 1, 'tiny');
  t.is((await control('lite/load')).status, 200);
  t.like(await (await running.get('/v2/models/lite')).json(), { versions: ['2'] });
  t.is((await infer(running, 1)).status, 200);
  await during;
});

test.serial('without modelControl nobody loads or unloads', async (t) => {
  await using running = await startServer({ models: { lite: fixturePath('scripted.pt') } });
  for (const verb of ['load', 'unload']) {
    const response = await running.post(`/v2/repository/models/lite/${verb}`, {});
    t.is(response.status, 403);
    t.is(((await response.json()) as { code: string }).code, 'ERR_MODEL_CONTROL');
  }
  t.is((await running.get('/v1/models/lite')).status, 200);
});

test.serial('a changed file is served without a gap, a broken one is not', async (t) => {
  const folder = await newFolder();
  const path = join(folder, 'model.pt');
  await copyFile(fixturePath('scripted.pt'), path);
  await using running = await startServer({ models: { tiny: path }, watch: true });
  const version = async () =>
    ((await (await running.get('/v2/models/tiny')).json()) as { versions: string[] }).versions[0];
  const statuses: number[] = [];
  let going = true;
  const asking = (async () => {
    while (going) statuses.push((await infer(running, 1, 'tiny')).status);
  })();
  await copyFile(fixturePath('traced.pt'), join(folder, 'next'));
  await rename(join(folder, 'next'), path);
  await eventually(t, 'version 2 serves', async () => (await version()) === '2');
  await writeFile(path, 'half a fi');
  await sleep(1500);
  t.is(await version(), '2');
  going = false;
  await asking;
  t.true(statuses.length > 3);
  t.true(
    statuses.every((status) => status === 200),
    statuses.join(),
  );
});

test.serial('a repository is watched, too, and a broken file is tried again when it changes', async (t) => {
  const folder = await newFolder();
  await copyFile(fixturePath('scripted.pt'), join(folder, 'one.pt'));
  await writeFile(join(folder, 'two.pt'), 'not yet a model');
  await using running = await startServer(
    { models: {}, modelRepository: folder, watch: true },
    { wait: false },
  );
  await t.throwsAsync(running.server.gradcamModels.whenLoaded(), { code: 'ERR_MODEL_LOAD' });
  t.is((await running.get('/v2/health/ready')).status, 503);
  await copyFile(fixturePath('traced.pt'), join(folder, 'two.pt'));
  await eventually(t, 'ready', async () => (await running.get('/v2/health/ready')).ok);
  t.is((await infer(running, 1, 'two')).status, 200);
  await copyFile(fixturePath('scripted.pt'), join(folder, 'three.pt'));
  await sleep(1000);
  t.is((await running.get('/v1/models/three')).status, 404, 'what nobody asked for is not loaded');
});

test.serial('ready only when warm; alive before', async (t) => {
  await using running = await startServer({}, { wait: false });
  t.is((await running.get('/v2/health/live')).status, 200);
  const early = await running.get('/v2/health/ready');
  t.is(early.status, 503);
  t.deepEqual(await early.json(), { ready: false });
  t.is((await running.get('/v1/models/lite')).status, 503);
  const busy = await infer(running, 1);
  t.is(busy.status, 503);
  t.is(((await busy.json()) as { code: string }).code, 'ERR_MODEL_NOT_READY');
  await running.server.gradcamModels.whenLoaded();
  t.is((await running.get('/v2/health/ready')).status, 200);
});

test.serial('a model that cannot be loaded leaves the server alive and not ready', async (t) => {
  await using running = await startServer(
    { models: { bad: fixturePath('bad/truncated.pt'), lite: liteModel } },
    { wait: false },
  );
  await t.throwsAsync(running.server.gradcamModels.whenLoaded(), { code: 'ERR_MODEL_LOAD' });
  t.is((await running.get('/v2/health/live')).status, 200);
  t.is((await running.get('/v2/health/ready')).status, 503);
  t.is((await infer(running, 1)).status, 200, 'the other model serves');
});

test.serial('close() answers what was accepted', async (t) => {
  // The batch waits for company: all are under way when the server is closed.
  const running = await startServer({ maxBatch: 17, maxDelayMs: 500 });
  const accepted = Array.from({ length: 16 }, (_, index) => infer(running, index + 1));
  await eventually(
    t,
    'all are accepted',
    async () => (await metric(running, /^nv_inference_pending_request_count (\d+)/m)) === 16,
  );
  await running.server.close();
  t.deepEqual(new Set((await Promise.all(accepted)).map(({ status }) => status)), new Set([200]));
  await t.throwsAsync(running.get('/v2/health/live'));
});

test.serial('as a plugin of a server of your own, under a prefix', async (t) => {
  const app = Fastify();
  app.get('/mine', async () => ({ mine: true }));
  await app.register(explainServer, { prefix: '/explainer', models: { lite: liteModel } });
  await app.listen({ port: 0 });
  try {
    const address = app.server.address() as { port: number };
    const get = (path: string) => fetch(`http://localhost:${address.port}${path}`);
    t.deepEqual(await (await get('/mine')).json(), { mine: true });
    await eventually(t, 'ready', async () => (await get('/explainer/v2/health/ready')).ok);
    t.deepEqual(await (await get('/explainer/v1/models')).json(), { models: ['lite'] });
    t.regex(await (await get('/explainer/')).text(), /<title>node-gradcam/);
    t.is((await get('/v1/models')).status, 404);
  } finally {
    await app.close();
  }
});

test.serial('options are checked, and a configuration file is read', async (t) => {
  const wrong = (options: object, message: RegExp) =>
    t.throws(() => createServer(options as never), { code: 'ERR_SERVER_CONFIG', message });
  wrong({}, /neither a model nor a repository/);
  wrong({ models: { lite: liteModel }, maxPendng: 3 }, /maxPendng/);
  wrong({ models: { '../x': liteModel } }, /named with letters/);
  wrong({ models: { lite: { path: liteModel, method: 'magic' } } }, /models\.lite/);
  wrong({ models: { lite: liteModel }, tokens: ['short'] }, /at least 8/);
  wrong({ models: { lite: liteModel }, deadlineMs: 10, maxDeadlineMs: 5 }, /larger than/);
  const folder = await newFolder();
  const file = join(folder, 'server.json');
  await writeFile(
    file,
    JSON.stringify({ port: 9000, host: '::1', models: { a: 'a.pt', b: { path: 'sub/b.pt', maxBatch: 2 } } }),
  );
  t.deepEqual(await readServerConfiguration(file), {
    port: 9000,
    host: '::1',
    options: { models: { a: join(folder, 'a.pt'), b: { path: join(folder, 'sub', 'b.pt'), maxBatch: 2 } } },
  });
  await writeFile(file, '{ "port": 90000 }');
  await t.throwsAsync(readServerConfiguration(file), { code: 'ERR_SERVER_CONFIG', message: /port/ });
  await writeFile(file, await readFile(liteModel));
  await t.throwsAsync(readServerConfiguration(file), { code: 'ERR_SERVER_CONFIG' });
});
