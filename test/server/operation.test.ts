import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import Fastify from 'fastify';
import { createServer, explainServer, readServerConfiguration } from 'node-gradcam/server';
import { liteModel } from '../helpers/fixtures.js';
import { fixturePath } from '../helpers/root.js';
import { photo, startServer } from '../helpers/server.js';
import { until } from '../helpers/until.js';

const tiny = fixturePath('scripted.pt');
const newFolder = () => mkdtemp(join(tmpdir(), 'gradcam-server-'));

test.serial("metrics have KServe's and Triton's names", async (t) => {
  await using running = await startServer({ models: { lite: tiny } });
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
    /^request_postprocess_seconds_count\{model_name="lite"\} 2$/m,
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

test.serial('bearer tokens guard all but health, page and document', async (t) => {
  await using running = await startServer({
    models: { lite: tiny },
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
    models: { lite: tiny },
    rateLimit: { max: 3, timeWindowMs: 60_000 },
  });
  const statuses: number[] = [];
  for (let index = 0; index < 5; index++) statuses.push((await running.get('/v1/models')).status);
  t.deepEqual(statuses, [200, 200, 200, 429, 429]);
  t.is((await running.get('/v2/health/live')).status, 200);
});

test.serial('as a plugin of a server of your own, under a prefix', async (t) => {
  const app = Fastify();
  app.get('/mine', async () => ({ mine: true }));
  await app.register(explainServer, { prefix: '/explainer', models: { lite: tiny } });
  await app.listen({ port: 0 });
  try {
    const address = app.server.address() as { port: number };
    const get = (path: string) => fetch(`http://localhost:${address.port}${path}`);
    t.deepEqual(await (await get('/mine')).json(), { mine: true });
    await until('readiness', async () => (await get('/explainer/v2/health/ready')).ok);
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
