import { execFile } from 'node:child_process';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import {
  applyColormap,
  drawOnOriginal,
  GradCAM,
  imageOptions,
  LayerCAM,
  type LoadedImage,
  loadImage,
  loadModel,
  loadSidecar,
  type Model,
  methodNames,
  showCamOnImage,
  showContoursOnImage,
} from 'node-gradcam';
import { parse } from 'npyjs';
import sharp from 'sharp';
import { liteModel, sameBits } from '../helpers/fixtures.js';
import { rootPath } from '../helpers/root.js';
import { photo, photoPath, type RunningServer, startServer } from '../helpers/server.js';

let running: RunningServer;
let model: Model;
let image: LoadedImage;
let labels: readonly string[] | undefined;
test.before(async () => {
  running = await startServer({ maxBatch: 1, maxImagePixels: 1_000_000, maxBodyBytes: 2_000_000 });
  model = await loadModel(liteModel, { dtype: 'float32' });
  const sidecar = await loadSidecar(liteModel);
  labels = sidecar?.labels;
  image = await loadImage(photo, sidecar ? imageOptions(sidecar) : {});
});
test.after.always(async () => {
  await running.server.close();
  await model.dispose();
});
const bytesOf = async (response: Response) => Buffer.from(await response.arrayBuffer());

test.serial("the overlay is the library's, byte for byte", async (t) => {
  const response = await running.post('/explain/lite?class=281&image_weight=0.4', photo, {
    'content-type': 'image/png',
  });
  t.is(response.status, 200);
  t.is(response.headers.get('content-type'), 'image/png');
  t.is(response.headers.get('x-batch-size'), '1');
  const { heatmaps } = await new GradCAM({ model }).explain(image.tensor, { targets: 281 });
  const expected = await showCamOnImage(image, heatmaps.at(0), { imageWeight: 0.4 }).toBuffer('png');
  t.true((await bytesOf(response)).equals(expected));
});

test.serial('Accept chooses the form; format wins over it', async (t) => {
  const forms = {
    'image/webp': 'webp',
    'image/jpeg': 'jpeg',
    'image/avif': 'heif',
    'image/*': 'png',
    '*/*': 'png',
  };
  for (const [accept, format] of Object.entries(forms)) {
    const response = await running.post('/explain/lite', photo, { accept });
    t.is((await sharp(await bytesOf(response)).metadata()).format, format as never, accept);
  }
  const json = await running.post('/explain/lite?format=json', photo, { accept: 'image/png' });
  t.regex(json.headers.get('content-type') ?? '', /^application\/json/);
  const none = await running.post('/explain/lite', photo, { accept: 'text/csv' });
  t.is(none.status, 406);
  t.regex(((await none.json()) as { error: string }).error, /There is: image\/png/);
});

test.serial('.npy and JSON hold the map to the bit', async (t) => {
  const query = 'method=layercam&layer=_conv_head&class=tabby&class=282';
  const expected = await new LayerCAM({ model, targetLayers: '_conv_head' }).explain(image.tensor, {
    targets: [[281, 282]],
  });
  const maps = expected.heatmaps.toTypedArray() as Float32Array;
  const npy = await bytesOf(await running.post(`/explain/lite?${query}&format=npy`, photo));
  const parsed = parse(npy.buffer.slice(npy.byteOffset, npy.byteOffset + npy.length) as ArrayBuffer);
  t.deepEqual([...parsed.shape], [2, 224, 224]);
  t.true(sameBits(Float32Array.from(parsed.data as Float32Array), maps));
  const answer = (await (await running.post(`/explain/lite?${query}&format=json`, photo)).json()) as {
    [key: string]: unknown;
    explained: { class: number; label: string; score: number; heatmap: { shape: number[]; data: string } }[];
  };
  t.deepEqual(
    answer.explained.map(({ class: index, label, score }) => ({ index, label, score })),
    [281, 282].map((index, position) => ({
      index,
      label: labels?.[index] ?? '',
      score: expected.scores[position] ?? 0,
    })),
  );
  const floats = answer.explained.map(
    ({ heatmap }) => new Float32Array(new Uint8Array(Buffer.from(heatmap.data, 'base64')).buffer),
  );
  t.true(sameBits(floats[0] ?? maps, maps.subarray(0, 224 * 224)));
  t.true(sameBits(floats[1] ?? maps, maps.subarray(224 * 224)));
  t.like(answer, {
    model: 'lite',
    method: 'layercam',
    batch_size: 1,
    image: {
      width: 224,
      height: 224,
      original_width: 451,
      original_height: 300,
      crop_left: 80,
      crop_top: 16,
    },
  });
});

test.serial('a form with a file is the same as the file', async (t) => {
  const form = new FormData();
  form.append('image', new Blob([new Uint8Array(photo)]), 'cat.png');
  const plain = await bytesOf(await running.post('/explain/lite', photo));
  t.true((await bytesOf(await running.post('/explain/lite', form))).equals(plain));
  const empty = new FormData();
  empty.append('image', 'text');
  t.is((await running.post('/explain/lite', empty)).status, 413, 'fields are not taken');
});

test.serial('every method can be asked for by its name', async (t) => {
  // Score-CAM would run this model 1280 times; that it starts is seen by its deadline.
  const expected: Record<string, number> = { scorecam: 504, legrad: 501 };
  for (const method of methodNames) {
    const layers = method === 'refinecam' ? '&layer=_blocks.10&layer=_conv_head' : '';
    const deadline = method === 'scorecam' ? '&deadline_ms=300' : '';
    const path = `/explain/lite?format=json&method=${encodeURIComponent(method)}${layers}${deadline}`;
    const response = await running.post(path, photo);
    const text = await response.text();
    t.is(response.status, expected[method] ?? 200, `${method}: ${text.slice(0, 300)}`);
    if (response.ok) t.is((JSON.parse(text) as { method: string }).method, method);
  }
});

test.serial("styles and the original picture are the library's", async (t) => {
  const { heatmaps } = await new GradCAM({ model }).explain(image.tensor, { targets: 281 });
  const map = heatmaps.at(0);
  const overlay = await drawOnOriginal(image, map, (seen, heat) =>
    showCamOnImage(seen, heat, { colormap: 'viridis' }),
  );
  const contour = await showContoursOnImage(image, map, { threshold: 0.7 });
  for (const [query, expected] of [
    [
      'original=true&colormap=viridis&format=webp&quality=40',
      await overlay.toBuffer('webp', { quality: 40 }),
    ],
    ['style=contour&threshold=0.7', await contour.toBuffer('png')],
    ['style=heat&colormap=inferno', await applyColormap(map, 'inferno').toBuffer('png')],
  ] as const)
    t.true(
      (await bytesOf(await running.post(`/explain/lite?class=281&${query}`, photo))).equals(expected),
      query,
    );
  const whole = await bytesOf(await running.post('/explain/lite?class=281&original=1&format=npy', photo));
  t.deepEqual(
    [...parse(whole.buffer.slice(whole.byteOffset, whole.byteOffset + whole.length) as ArrayBuffer).shape],
    [1, 300, 451],
  );
});

test.serial('at / there is a page for people, and a sign of life for clients of KServe', async (t) => {
  const page = await running.get('/', { headers: { accept: 'text/html,*/*' } });
  t.regex(page.headers.get('content-type') ?? '', /^text\/html/);
  const alive = await running.get('/', { headers: { accept: 'application/json' } });
  t.deepEqual(await alive.json(), { status: 'alive' });
});

test.serial('top explains the likeliest classes, side by side', async (t) => {
  const response = await running.post('/explain/lite?top=3', photo);
  const { width } = await sharp(await bytesOf(response)).metadata();
  t.is(width, 3 * 224 + 4 * 8);
});

test.serial('what can be asked of a model', async (t) => {
  t.deepEqual(await (await running.get('/explain')).json(), { models: ['lite'] });
  const description = (await (await running.get('/explain/lite')).json()) as {
    labels: string[];
    methods: string[];
    layer: string[];
    layers: { path: string; shape: number[] | null }[];
  };
  t.is(description.labels.length, 1000);
  t.true(description.methods.includes('gradcam++'));
  t.deepEqual(description.layer, ['_relu1']);
  t.deepEqual(description.layers.find(({ path }) => path === '_conv_head')?.shape, [1, 1280, 7, 7]);
});

const refused = test.macro(
  async (t, query: string, status: number, message: RegExp, body: Buffer = photo) => {
    const response = await running.post(`/explain/${query}`, body);
    const answer = (await response.json()) as { error: string };
    t.is(response.status, status, answer.error);
    t.regex(answer.error, message);
  },
);
test.serial('refused: an unknown model', refused, 'light', 404, /does not exist\. Is it lite\?/);
test.serial('refused: a misspelt option', refused, 'lite?clas=1', 400, /Unrecognized key: "clas"/);
test.serial('refused: an unknown method', refused, 'lite?method=magic', 400, /gradcam/);
test.serial('refused: an unknown colour map', refused, 'lite?colormap=rainbow', 400, /colormap/);
test.serial(
  'refused: what changes nothing',
  refused,
  'lite?style=box&colormap=jet',
  400,
  /colormap changes nothing/,
);
test.serial('refused: a reshape transform that is none', refused, 'lite?reshape=magic', 400, /tokens/);
test.serial('refused: class and top', refused, 'lite?class=1&top=2', 400, /not both/);
test.serial('refused: an unknown label', refused, 'lite?class=tabbycat', 400, /nearest/);
test.serial('refused: an endless label', refused, `lite?class=${'x'.repeat(5000)}`, 400, /200/);
test.serial('refused: a weight beyond 1', refused, 'lite?image_weight=2', 400, /image_weight/);
test.serial('refused: nothing', refused, 'lite', 400, /no picture/, Buffer.alloc(0));
test.serial('refused: no picture', refused, 'lite', 400, /Cannot read the picture/, Buffer.from('hello'));
test.serial(
  'refused: half a picture',
  refused,
  'lite',
  400,
  /Cannot read the picture/,
  photo.subarray(0, 20_000),
);
test.serial('refused: a body beyond the limit', refused, 'lite', 413, /too large/, Buffer.alloc(2_000_001));

test.serial('refused: a picture with too many pixels, however small its file', async (t) => {
  const bomb = await sharp({ create: { width: 4000, height: 4000, channels: 3, background: 'red' } })
    .png({ compressionLevel: 9 })
    .toBuffer();
  t.true(bomb.length < 500_000);
  const response = await running.post('/explain/lite', bomb);
  t.is(response.status, 400);
  t.regex(((await response.json()) as { error: string }).error, /pixel limit/);
});

test.serial('paths lead nowhere', async (t) => {
  for (const path of [
    '/explain/..%2f..%2fetc',
    '/..%2f..%2fpackage.json',
    '/assets/..%2f..%2findex.js',
    '/%2e%2e/server/index.js',
  ]) {
    const response = await running.get(path);
    t.true(
      response.status === 404 || response.status === 400 || response.status === 403,
      `${path}: ${response.status}`,
    );
    t.false((await response.text()).includes('exports'), path);
  }
});

test.serial('the example of a client asks a server that runs, or its own', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gradcam-client-'));
  const ask = (...args: string[]) =>
    promisify(execFile)(process.execPath, [rootPath('dist/examples/server-client.js'), photoPath, ...args], {
      cwd: rootPath(''),
    });
  for (const address of [[running.url], []]) {
    const overlay = join(folder, `${address.length}.png`);
    const { stdout, stderr } = await ask(overlay, ...address);
    t.is(stderr, '');
    t.regex(
      stdout,
      /^ 40\.\d% {2}tiger cat\n 34\.\d% {2}Egyptian cat\n 1\d\.\d% {2}tabby\nin \d+ ms\n.*: what speaks for tiger cat\n$/,
    );
    const { width, height } = await sharp(overlay).metadata();
    t.deepEqual([width, height], [451, 300]);
  }
});
