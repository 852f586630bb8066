import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { fitsColumns, gradcam, photo } from '../helpers/cli.js';
import { temporaryFolder } from '../helpers/package-copy.js';
import { fixturePath } from '../helpers/root.js';
import { startServer } from '../helpers/server.js';

// What must be known of a model, on the command line and from the server.

const drops = fixturePath('batches/drops.pt');

test.serial('gradcam layers ends with the warnings', async (t) => {
  const { code, stdout, stderr } = await gradcam(['layers', drops, '--input-size', '16']);
  t.is(code, 0, stderr);
  t.regex(
    stdout.replace(/\n(?!\n|Warning)/g, ' '),
    /Warning: The model's forward holds operations in training mode: 1 dropout\. /,
  );
  fitsColumns(t, stdout);
  const json = await gradcam(['layers', drops, '--json']);
  t.like(JSON.parse(json.stdout), { warnings: [{ code: 'training-mode', modelMethod: 'forward' }] });
  const none = await gradcam(['layers', fixturePath('scripted.pt'), '--json']);
  t.deepEqual(JSON.parse(none.stdout).warnings, []);
});

test.serial('gradcam explain says them once, on standard error', async (t) => {
  const folder = temporaryFolder(t);
  const { code, stdout, stderr } = await gradcam(
    ['explain', drops, photo, photo, '--size', '16', '--json', '-o', folder],
    folder,
  );
  t.is(code, 0, stderr);
  t.is(stderr.match(/Warning: /g)?.length, 1);
  t.regex(stderr, /training mode: 1/);
  t.notThrows(() => JSON.parse(stdout));
});

test.serial('gradcam init-sidecar tries two images and says what came of it', async (t) => {
  const folder = temporaryFolder(t);
  await copyFile(fixturePath('batches/one-image.pt'), join(folder, 'model.pt'));
  const { code, stdout, stderr } = await gradcam(['init-sidecar', 'model.pt', '--size', '16'], folder);
  t.is(code, 0, stderr);
  t.regex(stdout, /^ {2}warning {2}The model's forward takes one image at a time/m);
  fitsColumns(t, stdout);
});

test('the server tells them with a model, and serves one that takes one image only', async (t) => {
  const folder = temporaryFolder(t);
  await copyFile(fixturePath('batches/one-image.pt'), join(folder, 'model.pt'));
  const written = await gradcam(['init-sidecar', 'model.pt', '--size', '16'], folder);
  t.is(written.code, 0, written.stderr);
  await using server = await startServer({ models: { drops, one: join(folder, 'model.pt') } });
  const description = await (await server.get('/explain/drops')).json();
  t.like(description, { warnings: [{ code: 'training-mode' }] });
  const one = await (await server.get('/explain/one')).json();
  t.like(one, { warnings: [{ code: 'one-image' }] });
  const data = Array.from({ length: 3 * 3 * 256 }, (_, index) => Math.sin(index));
  const body = { inputs: [{ name: 'input', shape: [3, 3, 16, 16], datatype: 'FP32', data }] };
  const response = await server.post('/v2/models/one/infer', body);
  t.is(response.status, 200);
  const { outputs } = (await response.json()) as { outputs: { name: string; shape: number[] }[] };
  t.deepEqual(outputs[0]?.shape, [3, 4]);
});
