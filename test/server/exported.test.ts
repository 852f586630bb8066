import { copyFile, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { fixturePath } from '../helpers/root.js';
import { startServer } from '../helpers/server.js';

// Exported programs are served as TorchScript is.

const sidecar = JSON.stringify({ input: { width: 12, height: 12 }, layer: 'body.0' });
const input = (images: number, size: number) => ({
  inputs: [
    {
      name: 'input',
      datatype: 'FP32',
      shape: [images, 3, size, size],
      data: Array.from({ length: images * 3 * size * size }, (_, index) => Math.sin(index)),
    },
  ],
  outputs: [{ name: 'heatmap' }],
  parameters: { explain: true },
});
interface Answer {
  readonly outputs: readonly {
    readonly name: string;
    readonly shape: readonly number[];
    readonly data: readonly number[];
  }[];
}

test('a repository has .pt2 beside .pt, and of both forms of a model the program', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gradcam exported '));
  await copyFile(fixturePath('exported/dynamic-batch.pt2'), join(folder, 'both.pt2'));
  await writeFile(join(folder, 'both.pt'), 'not the one that is served');
  await writeFile(join(folder, 'both.json'), sidecar);
  await copyFile(fixturePath('scripted.pt'), join(folder, 'script.pt'));
  await using running = await startServer({
    models: {},
    modelRepository: folder,
    modelControl: true,
    insecure: true,
  });
  const index = (await (await running.post('/v2/repository/index', {})).json()) as { name: string }[];
  t.deepEqual(index.map(({ name }) => name).sort(), ['both', 'script']);
  for (const [name, platform] of [
    ['both', 'pytorch_exported_program'],
    ['script', 'pytorch_torchscript'],
  ] as const) {
    t.is((await running.post(`/v2/repository/models/${name}/load`, {})).status, 200);
    t.like(await (await running.get(`/v2/models/${name}`)).json(), { platform });
    t.like(await (await running.get(`/v2/models/${name}/config`)).json(), { platform });
  }
  const answer = await running.post('/v2/models/both/infer', input(3, 12));
  t.is(answer.status, 200);
  t.deepEqual(
    ((await answer.json()) as Answer).outputs.find(({ name }) => name === 'heatmap')?.shape,
    [3, 12, 12],
  );
});

test('a program for four images answers requests of any number', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gradcam exported '));
  const path = join(folder, 'four.pt2');
  await copyFile(fixturePath('exported/vit-batch-4.pt2'), path);
  await writeFile(
    join(folder, 'four.json'),
    JSON.stringify({
      input: { width: 16, height: 16 },
      layer: 'encoder.layers.encoder_layer_0.ln_1',
      reshapeTransform: { kind: 'tokens', prefixTokens: 1 },
    }),
  );
  await using running = await startServer({ models: { four: path }, maxBatch: 8 });
  const heatmaps = async (images: number) => {
    const answer = await running.post('/v2/models/four/infer', input(images, 16));
    const text = await answer.text();
    t.is(answer.status, 200, text);
    return (JSON.parse(text) as Answer).outputs.find(({ name }) => name === 'heatmap');
  };
  const four = await heatmaps(4);
  for (const images of [1, 3, 6]) {
    const some = await heatmaps(images);
    t.deepEqual(some?.shape, [images, 16, 16]);
    const same = Math.min(images, 4) * 256;
    for (let at = 0; at < same; at++)
      t.true(Math.abs((some?.data[at] ?? 9) - (four?.data[at] ?? 9)) < 1e-5, `${images} images, value ${at}`);
  }
});
