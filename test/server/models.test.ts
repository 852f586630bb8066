import { copyFile, mkdtemp, rename, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import test from 'ava';
import { holdExecutor } from '../helpers/hold-executor.js';
import { messagesOf } from '../helpers/messages.js';
import { holdThreadPool } from '../helpers/named-pipes.js';
import { fixturePath } from '../helpers/root.js';
import { photo, readInference, startServer } from '../helpers/server.js';
import { formOf, holdRequest, image, infer, metric, untilPending } from '../helpers/server-requests.js';
import { until } from '../helpers/until.js';

const newFolder = () => mkdtemp(join(tmpdir(), 'gradcam-server-'));
const tiny = fixturePath('scripted.pt');
const served = { models: { lite: tiny }, maxBatch: 2 };

interface LogLine {
  readonly msg: string;
  readonly path?: string;
}

/** What a server logs, line by line. */
function newLog() {
  const lines: LogLine[] = [];
  const stream = new Writable({
    write(text, _, done) {
      lines.push(
        ...String(text)
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line) as LogLine),
      );
      done();
    },
  });
  return { lines, logger: { level: 'debug', stream } };
}

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
  t.regex(((await many.json()) as { error: string }).error, /11 maps or predictions, but at most 10/);
});

test.serial('requests find plans and packed weights as the warm-up left them', async (t) => {
  await using running = await startServer(served);
  const { model } = running.server.gradcamModels.get('lite');
  const held = () => [model.stats().plans, model.stats().memory.packedBytes];
  const warm = held();
  t.is(warm[0], 1);
  t.true((warm[1] as number) > 0);
  t.is((await infer(running, 1)).status, 200);
  t.is((await infer(running, 2)).status, 200);
  t.deepEqual(held(), warm);
  t.is(model.stats().jobs.failed, 0);
});

test.serial('a model without a layer to suggest is served all the same', async (t) => {
  const folder = await newFolder();
  await copyFile(tiny, join(folder, 'pixel.pt'));
  await writeFile(join(folder, 'pixel.json'), JSON.stringify({ input: { width: 1, height: 1 } }));
  const { lines, logger } = newLog();
  await using running = await startServer({ models: { pixel: join(folder, 'pixel.pt') }, logger });
  const b64 = photo.toString('base64');
  t.is((await running.post('/v1/models/pixel:predict', { instances: [{ b64 }] })).status, 200);
  t.true(lines.some(({ msg }) => msg === 'model pixel explains no class unless a request says more'));
});

test.serial('models are loaded and unloaded by request', async (t) => {
  const folder = await newFolder();
  await copyFile(tiny, join(folder, 'tiny.pt'));
  await symlink(fixturePath('traced.pt'), join(folder, 'outside.pt'));
  await writeFile(join(folder, 'broken.pt'), 'not a model');
  await using running = await startServer({
    ...served,
    modelRepository: folder,
    modelControl: true,
    insecure: true,
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

  t.deepEqual(await (await control('lite/unload')).json(), { name: 'lite', unload: true });
  t.is((await infer(running, 1)).status, 503);
  t.is((await running.get('/v1/models/lite')).status, 503);
  const index = (await (await running.post('/v2/repository/index', {})).json()) as {
    name: string;
    state: string;
  }[];
  t.is(index.find(({ name }) => name === 'lite')?.state, 'UNAVAILABLE');
  t.is(index.find(({ name }) => name === 'tiny')?.state, 'READY');
  t.is((await infer(running, 1, 'tiny')).status, 200);

  t.is((await control('lite/load')).status, 200);
  t.like(await (await running.get('/v2/models/lite')).json(), { versions: ['2'] });
  t.is((await infer(running, 1)).status, 200);
});

test.serial('a model is unloaded when all that was accepted is answered, whatever its stage', async (t) => {
  await using running = await startServer({ ...served, modelControl: true, insecure: true });
  const explains = messagesOf(t, 'gradcam:explain:start');
  const handlers = messagesOf(t, 'tracing:fastify.request.handler:start');
  await using executor = await holdExecutor();
  const queued = [infer(running, 1), infer(running, 2)];
  await until('two images to wait for an executor', () => explains.length === 2);
  const form = holdRequest(running.url, '/explain/lite', await formOf(new Uint8Array(photo)));
  const inference = holdRequest(running.url, '/v2/models/lite/versions/1/infer', image(3));
  await until('the handler of the form', () => handlers.length === 3); // The other body is read before the handler.
  await untilPending(running, 4);
  const releasePool = await holdThreadPool();
  const others = handlers.length;
  const decoding = running.post('/explain/lite', photo);
  await until('a picture to wait for its decoding', () => handlers.length === others + 1);

  const unloading = running.post('/v2/repository/models/lite/unload', {});
  const state = () => running.server.gradcamModels.status()[0]?.state;
  await until('the unloading to begin', () => state() === 'UNLOADING');
  t.is((await infer(running, 5)).status, 503, 'new requests are refused');
  await Promise.all([releasePool(), executor.release()]);
  t.deepEqual(
    (await Promise.all([...queued, decoding])).map(({ status }) => status),
    [200, 200, 200],
  );
  t.is(state(), 'UNLOADING', 'two bodies are still on their way');
  t.deepEqual(
    (await Promise.all([form.finish(), inference.finish()])).map(({ status }) => status),
    [200, 200],
  );
  t.is((await unloading).status, 200);
  t.is(state(), 'UNAVAILABLE');
});

test.serial('a new version takes new requests, the old one answers what it accepted', async (t) => {
  await using running = await startServer({ ...served, modelControl: true, insecure: true });
  t.is((await infer(running, 3)).status, 200);
  const accepted = holdRequest(running.url, '/v2/models/lite/versions/1/infer', image(1));
  await untilPending(running, 1);
  t.is((await running.post('/v2/repository/models/lite/load', {})).status, 200);
  const versionOf = async (response: Response) => (await readInference(response)).json.model_version;
  t.is(await versionOf(await infer(running, 2)), '2');
  const old = /^nv_inference_count\{model="lite",version="1"\} (\d+)$/m;
  t.is(await metric(running, old), 1, 'its counters stay, and count no warm-up');
  const answer = await accepted.finish();
  t.is(answer.status, 200);
  t.is(await versionOf(answer), '1');
  t.is(await metric(running, old), 2);
  t.is((await running.get('/v2/models/lite/versions/1/ready')).status, 404);
});

test.serial('without modelControl nobody loads or unloads', async (t) => {
  await using running = await startServer(served);
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
  await copyFile(tiny, path);
  const { lines, logger } = newLog();
  await using running = await startServer({ models: { tiny: path }, maxBatch: 2, watch: true, logger });
  const version = async () =>
    ((await (await running.get('/v2/models/tiny')).json()) as { versions: string[] }).versions[0];
  const statuses: number[] = [];
  let going = true;
  const asking = (async () => {
    while (going) statuses.push((await infer(running, 1, 'tiny')).status);
  })();
  await copyFile(fixturePath('traced.pt'), join(folder, 'next'));
  await rename(join(folder, 'next'), path);
  await until('version 2 to serve', async () => (await version()) === '2');
  await writeFile(path, 'half a fi');
  await until('the broken file to be refused', () =>
    lines.some(({ msg }) => msg === 'model tiny could not be loaded'),
  );
  t.is(await version(), '2');
  going = false;
  await asking;
  t.true(statuses.length > 1);
  t.true(
    statuses.every((status) => status === 200),
    statuses.join(),
  );
});

test.serial('a repository is watched, too, and a broken file is tried again when it changes', async (t) => {
  const folder = await newFolder();
  await copyFile(tiny, join(folder, 'one.pt'));
  await writeFile(join(folder, 'two.pt'), 'not yet a model');
  const { lines, logger } = newLog();
  await using running = await startServer(
    { models: {}, maxBatch: 2, modelRepository: folder, watch: true, logger },
    { wait: false },
  );
  await t.throwsAsync(running.server.gradcamModels.whenLoaded(), { code: 'ERR_MODEL_LOAD' });
  t.is((await running.get('/v2/health/ready')).status, 503);
  await copyFile(fixturePath('traced.pt'), join(folder, 'two.pt'));
  await until('readiness', async () => (await running.get('/v2/health/ready')).ok);
  t.is((await infer(running, 1, 'two')).status, 200);
  const third = join(folder, 'three.pt');
  await copyFile(tiny, third);
  await until('the third file to be seen', () => lines.some(({ path }) => path === third));
  t.is((await running.get('/v1/models/three')).status, 404, 'what nobody asked for is not loaded');
});

test.serial('ready only when warm; alive before', async (t) => {
  await using executor = await holdExecutor(); // Models are loaded by executors.
  await using running = await startServer(served, { wait: false });
  t.is((await running.get('/v2/health/live')).status, 200);
  const early = await running.get('/v2/health/ready');
  t.is(early.status, 503);
  t.deepEqual(await early.json(), { ready: false });
  t.is((await running.get('/v1/models/lite')).status, 503);
  const busy = await infer(running, 1);
  t.is(busy.status, 503);
  t.is(((await busy.json()) as { code: string }).code, 'ERR_MODEL_NOT_READY');
  await executor.release();
  await running.server.gradcamModels.whenLoaded();
  t.is((await running.get('/v2/health/ready')).status, 200);
});

test.serial('a model that cannot be loaded leaves the server alive and not ready', async (t) => {
  await using running = await startServer(
    { models: { bad: fixturePath('bad/truncated.pt'), lite: tiny }, maxBatch: 2 },
    { wait: false },
  );
  await t.throwsAsync(running.server.gradcamModels.whenLoaded(), { code: 'ERR_MODEL_LOAD' });
  t.is((await running.get('/v2/health/live')).status, 200);
  t.is((await running.get('/v2/health/ready')).status, 503);
  t.is((await infer(running, 1)).status, 200, 'the other model serves');
});
