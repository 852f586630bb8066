import { copyFile, mkdtemp, rename, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { fixturePath } from './helpers/fixtures.js';
import { liteModel, photo, startServer } from './helpers/server.js';
import { eventually, infer, metric } from './helpers/server-requests.js';

const newFolder = () => mkdtemp(join(tmpdir(), 'gradcam-server-'));

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
