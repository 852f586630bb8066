import { copyFile, mkdtemp, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { createServer } from 'node-gradcam/server';
import { holdExecutor } from '../helpers/hold-executor.js';
import { fixturePath } from '../helpers/root.js';
import { startServer } from '../helpers/server.js';
import { until } from '../helpers/until.js';

// What is done once, however many ask for it.

const newFolder = () => mkdtemp(join(tmpdir(), 'gradcam-loads-'));
const tiny = fixturePath('scripted.pt');

test.serial('a model that nobody has loaded is loaded once for all who ask at the same time', async (t) => {
  const folder = await newFolder();
  await copyFile(tiny, join(folder, 'tiny.pt'));
  await using running = await startServer({
    modelRepository: folder,
    models: {},
    modelControl: true,
    insecure: true,
  });
  const load = () => running.post('/v2/repository/models/tiny/load', {});
  const answers = await Promise.all([load(), load(), load(), load(), load()]);
  t.deepEqual(
    answers.map(({ status }) => status),
    [200, 200, 200, 200, 200],
  );
  const models = running.server.gradcamModels;
  t.like(models.status(), [{ name: 'tiny', version: '1', state: 'READY' }]);
  t.is(models.totals().length, 1, 'there was no other version');
  const first = models.get('tiny').model;
  t.is((await load()).status, 200, 'later it is loaded anew');
  t.is(models.get('tiny').version, '2');
  await until('the first to be freed', () => first.disposed);
});

test.serial('a model whose load failed is loaded again when it is asked for again', async (t) => {
  const folder = await newFolder();
  await writeFile(join(folder, 'tiny.pt'), 'not a model');
  await using running = await startServer({
    modelRepository: folder,
    models: {},
    modelControl: true,
    insecure: true,
  });
  const load = async () => (await running.post('/v2/repository/models/tiny/load', {})).status;
  t.deepEqual(await Promise.all([load(), load(), load()]), [500, 500, 500]);
  await copyFile(tiny, join(folder, 'tiny.pt'));
  t.is(await load(), 200);
});

test.serial('a file that changes while it is loaded is loaded anew', async (t) => {
  const folder = await newFolder();
  await copyFile(tiny, join(folder, 'tiny.pt'));
  await using running = await startServer({
    modelRepository: folder,
    models: {},
    modelControl: true,
    insecure: true,
  });
  const models = running.server.gradcamModels;
  const executor = await holdExecutor();
  const first = models.load('tiny');
  await until('the load to begin', () => models.status()[0]?.state === 'LOADING');
  const second = models.reload('tiny');
  await executor.release();
  await Promise.all([first, second]);
  t.is(models.get('tiny').version, '2');
});

for (const [what, file, shown] of [
  ['can', 'scripted.pt', true],
  ['cannot', 'no_forward.pt', false],
] as const) {
  test.serial(`a model that ${what} be inspected is inspected once`, async (t) => {
    await using running = await startServer({ models: { model: fixturePath(file) } });
    const { model } = running.server.gradcamModels.get('model');
    const ask = async () => {
      const { layers } = (await (await running.get('/explain/model')).json()) as {
        layers: { shape: number[] | null }[];
      };
      return layers.some(({ shape }) => shape !== null);
    };
    t.deepEqual(await Promise.all([ask(), ask(), ask()]), [shown, shown, shown]);
    const { done, failed } = model.stats().jobs;
    for (let count = 0; count < 3; count++) t.is(await ask(), shown);
    t.like(model.stats().jobs, { done, failed });
  });
}

test.serial('the process is watched once, however many servers there were', async (t) => {
  const hooks = createRequire(import.meta.url)('node:perf_hooks') as { monitorEventLoopDelay: unknown };
  const real = hooks.monitorEventLoopDelay as (options: object) => unknown;
  let watched = 0;
  hooks.monitorEventLoopDelay = (options: object) => {
    watched++;
    return real(options);
  };
  try {
    for (let count = 0; count < 3; count++) {
      await using running = await startServer({ models: { tiny } });
      const text = await (await running.get('/metrics')).text();
      t.is(text.match(/^# TYPE nodejs_eventloop_lag_seconds gauge$/gm)?.length, 1);
      t.is(text.match(/^nodejs_eventloop_lag_seconds /gm)?.length, 1);
    }
    await createServer({ models: { tiny } }).close();
    t.true(watched <= 1, `${watched} times`);
  } finally {
    hooks.monitorEventLoopDelay = real;
  }
});
