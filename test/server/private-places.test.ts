import { copyFile, mkdir, mkdtemp, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { ExplainServerOptions } from 'node-gradcam/server';
import { rawRequest } from '../helpers/raw-request.js';
import { fixturePath } from '../helpers/root.js';
import { photo, startServer } from '../helpers/server.js';

// No answer tells where anything lies: the folders of these models have a mark in their names, and it is in none.

const mark = 'SECRET';
const sidecar = (more: object) => JSON.stringify({ input: { width: 64, height: 64 }, ...more });

/** A repository with one good model, and models that fail in each way that loading can. */
async function repository(): Promise<string> {
  const folder = join(await mkdtemp(join(tmpdir(), 'gradcam-places-')), `${mark} folder`, 'models');
  await mkdir(folder, { recursive: true });
  const model = (name: string, file = 'scripted.pt') =>
    copyFile(fixturePath(file), join(folder, `${name}.pt`));
  await model('good');
  await writeFile(join(folder, 'empty.pt'), '');
  await writeFile(join(folder, 'damaged.pt'), 'not a model');
  await model('operator', 'detection/unknown_operator.pt');
  await model('frozen', 'frozen.pt');
  await model('no-forward', 'no_forward.pt');
  await model('no-json');
  await writeFile(join(folder, 'no-json.json'), '{');
  await model('no-labels');
  await writeFile(join(folder, 'no-labels.json'), sidecar({ labels: 'labels.txt' }));
  await model('labels-elsewhere');
  await writeFile(join(folder, 'labels-elsewhere.json'), sidecar({ labels: '../other/labels.txt' }));
  await model('labels-absolute');
  await writeFile(join(folder, 'labels-absolute.json'), sidecar({ labels: `/${mark} elsewhere/labels.txt` }));
  await model('labels-folder');
  await mkdir(join(folder, 'labels'));
  await writeFile(join(folder, 'labels-folder.json'), sidecar({ labels: 'labels' }));
  await model('sidecar-folder');
  await mkdir(join(folder, 'sidecar-folder.json'));
  await model('wrong-layer');
  await writeFile(join(folder, 'wrong-layer.json'), sidecar({ layer: 'nothing' }));
  await model('wrong-arguments');
  await writeFile(join(folder, 'wrong-arguments.json'), sidecar({ arguments: { rate: 3 } }));
  await model('wrong-input');
  await writeFile(
    join(folder, 'wrong-input.json'),
    JSON.stringify({ input: { width: 64, height: 64, channels: 1 } }),
  );
  return folder;
}

const broken = [
  'empty',
  'damaged',
  'operator',
  'no-json',
  'no-labels',
  'labels-elsewhere',
  'labels-absolute',
  'labels-folder',
  'sidecar-folder',
  'wrong-layer',
  'wrong-arguments',
  'wrong-input',
];

async function tellsNothing(
  t: ExecutionContext,
  folder: string,
  options: Partial<ExplainServerOptions>,
): Promise<void> {
  await using running = await startServer({
    models: { good: join(folder, 'good.pt') },
    modelRepository: folder,
    modelControl: true,
    insecure: true,
    maxImagePixels: 100_000,
    ...options,
  });
  const ask = async (
    path: string,
    method = 'POST',
    body: string | Uint8Array = '{}',
    type = 'application/json',
  ) => {
    const { status, text } = await rawRequest(running.url, path, {
      method,
      body,
      headers: { 'content-type': type },
    });
    t.false(text.includes(mark), `${method} ${path}: ${text}`);
    t.notRegex(text, /\/(?:tmp|home|root|usr)\//, `${method} ${path}`);
    return { status, text };
  };
  for (const name of broken) {
    const { status, text } = await ask(`/v2/repository/models/${name}/load`);
    t.true(status >= 400, `${name}: ${status} ${text}`);
    // It still tells what is wrong.
    t.regex(text, /"error":"[^"]{20,}/, name);
    for (const path of [
      `/v1/models/${name}`,
      `/v2/models/${name}`,
      `/v2/models/${name}/ready`,
      `/explain/${name}`,
    ])
      await ask(path, 'GET', '');
    await ask(`/explain/${name}`, 'POST', photo, 'image/png');
    await ask(`/v2/models/${name}/infer`);
  }
  for (const name of ['frozen', 'no-forward'])
    t.is((await ask(`/v2/repository/models/${name}/load`)).status, 200);
  for (const path of ['/', '/openapi.json', '/metrics', '/explain', '/v1/models', '/v2', '/v2/health/ready'])
    t.is((await ask(path, 'GET', '')).status, 200, path);
  const index = await ask('/v2/repository/index');
  t.regex(index.text, /ERR_SIDECAR/);
  for (const query of [
    '',
    '?layer=nothing',
    '?class=cat',
    '?class=4000',
    '?format=npy&layer=fc',
    '?method=legrad',
    '?original=true',
  ])
    await ask(`/explain/good${query}`, 'POST', photo, 'image/png');
  for (const body of ['no picture', '<svg xmlns="http://www.w3.org/2000/svg"/>', photo.subarray(0, 900), ''])
    await ask('/explain/good', 'POST', body, 'image/png');
  for (const name of ['frozen', 'no-forward']) {
    await ask(`/explain/${name}`, 'POST', photo, 'image/png');
    await ask(`/explain/${name}`, 'GET', '');
  }
  await ask('/v1/models/good:explain', 'POST', '{"instances": [[1, 2], [3]]}');
  await ask(
    '/v2/models/good/infer',
    'POST',
    '{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}',
  );
  await ask('/v2/models/good/versions/7/ready', 'GET', '');
  await ask('/v2/repository/models/nothing/load');
}

test('a repository and a model of an absolute path', async (t) => {
  const folder = await repository();
  await tellsNothing(t, folder, {});
});

test('a repository that is a link', async (t) => {
  const folder = await repository();
  const link = join(await mkdtemp(join(tmpdir(), 'gradcam-places-')), 'link');
  await symlink(folder, link);
  await tellsNothing(t, folder, { modelRepository: link });
});

test('what a client sent is told as it was sent', async (t) => {
  await using running = await startServer({ models: { lite: fixturePath('scripted.pt') } });
  const layer = encodeURIComponent('/features/0/conv');
  const answer = await running.post(`/explain/lite?layer=${layer}`, photo);
  t.regex(await answer.text(), /'\/features\/0\/conv'/);
});
