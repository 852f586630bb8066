import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { loadModel, Tensor } from 'node-gradcam';
import { asStored, describeIn } from '../helpers/dense-server.js';
import { fixturePath } from '../helpers/root.js';
import { photo, type RunningServer, startServer } from '../helpers/server.js';
import { jobsOf } from '../helpers/server-requests.js';

// Texts, boxes and categories are maps like those of classes: counted, and their memory set aside, before they are computed.

const folder = mkdtempSync(join(tmpdir(), 'gradcam bounds '));
let models: Record<string, string>;
test.before(async () => {
  const described = await describeIn(folder, {
    detector: {
      file: 'box-targets/finds.pt',
      sidecar: { task: 'detection', layer: 'conv', input: { width: 24, height: 24, ...asStored } },
    },
    segmenter: {
      file: 'detection/deeplabv3.pt',
      sidecar: { task: 'segmentation', output: 'out', input: { width: 64, height: 48, ...asStored } },
    },
  });
  models = { clip: fixturePath('clip/resnet.pt'), ...described };
});
test.after.always(() => rmSync(folder, { recursive: true, force: true }));

const cat = readFileSync(fixturePath('clip/cat-128.png'));
const b64 = cat.toString('base64');
const box = [0, 0, 10, 10];
const input = { name: 'x', shape: [1], datatype: 'BYTES', data: [b64] };
const repeated = (name: string, values: readonly (string | number)[]) =>
  values.map((value) => `${name}=${value}`).join('&');

async function failure(response: Response): Promise<{ status: number; code: string; error: string }> {
  const { code, error } = (await response.json()) as { code: string; error: string };
  return { status: response.status, code, error };
}

type Ask = (running: RunningServer, count: number) => Promise<Response>;
const numbers = (count: number) => Array.from({ length: count }, (_, index) => index);
const asks: Readonly<Record<string, readonly [model: string, ask: Ask]>> = {
  'plain, texts': ['clip', (to, count) => to.post(`/explain/clip?${repeated('text', numbers(count))}`, cat)],
  'plain, boxes': [
    'detector',
    (to, count) => to.post(`/explain/detector?${repeated('box', numbers(count))}`, photo),
  ],
  'plain, the largest categories': [
    'segmenter',
    (to, count) => to.post(`/explain/segmenter?top=${count}`, photo),
  ],
  'V1, texts': [
    'clip',
    (to, count) =>
      to.post('/v1/models/clip:explain', { instances: [{ b64, texts: numbers(count).map(String) }] }),
  ],
  'V1, boxes': [
    'detector',
    (to, count) =>
      to.post('/v1/models/detector:explain', { instances: [{ b64 }], box: numbers(count).map(() => box) }),
  ],
  'V1, the surest of several instances': [
    'detector',
    (to, count) =>
      to.post('/v1/models/detector:explain', {
        instances: [{ b64 }, { b64, class: 1 }],
        top: count - 1,
      }),
  ],
  'V2, texts in a parameter': [
    'clip',
    (to, count) =>
      to.post('/v2/models/clip/infer', {
        inputs: [input],
        parameters: { texts: JSON.stringify(numbers(count).map(String)) },
      }),
  ],
  'V2, texts in an input': [
    'clip',
    (to, count) =>
      to.post('/v2/models/clip/infer', {
        inputs: [
          input,
          { name: 'texts', shape: [count], datatype: 'BYTES', data: numbers(count).map(String) },
        ],
      }),
  ],
  'V2, boxes': [
    'detector',
    (to, count) =>
      to.post('/v2/models/detector/infer', {
        inputs: [
          input,
          {
            name: 'box',
            shape: [1, count, 4],
            datatype: 'FP32',
            data: numbers(count).flatMap(() => box),
          },
        ],
      }),
  ],
  'V2, the largest categories': [
    'segmenter',
    (to, count) => to.post('/v2/models/segmenter/infer', { inputs: [input], parameters: { top: count } }),
  ],
};

test.serial('more maps than may be on their way are refused before the model runs', async (t) => {
  await using running = await startServer({ models, maxPending: 4 });
  for (const [name, [model, ask]] of Object.entries(asks)) {
    const before = jobsOf(running, model).done;
    const refused = await failure(await ask(running, 5));
    t.deepEqual([refused.status, refused.code], [413, 'ERR_TOO_LARGE'], name);
    t.regex(refused.error, /asks for 5 maps or predictions, but at most 4/, name);
    t.is(jobsOf(running, model).done, before, name);
  }
  for (const name of ['plain, texts', 'V2, the largest categories']) {
    const answer = await asks[name]?.[1](running, 4);
    t.is(answer?.status, 200, name);
    await answer?.arrayBuffer(); // else the server waits for whoever reads it
  }
});

test.serial('the outputs that categories are found in, and their masks, are counted', async (t) => {
  const bytesOf = async (): Promise<number> => {
    await using model = await loadModel(models.segmenter as string);
    using zeros = Tensor.zeros([1, 3, 48, 64]);
    const outputs = (await model.forward(zeros)) as Record<string, Tensor>;
    return Object.values(outputs).reduce((sum, { size }) => sum + 4 * size, 0);
  };
  // As JSON a map takes ten bytes for each of its pixels.
  const pixels = 48 * 64;
  const needed = 10 * pixels + (await bytesOf());
  const ask = async (maxWorkBytes: number) => {
    await using running = await startServer({ models, maxWorkBytes });
    return await failure(await running.post('/explain/segmenter?format=json&class=1', photo));
  };
  const noOutputs = await ask(needed - 1);
  t.deepEqual([noOutputs.status, noOutputs.code], [413, 'ERR_TOO_LARGE']);
  t.regex(noOutputs.error, /^What the targets are found in would take/);
  const noMask = await ask(needed + 4 * pixels - 1);
  t.is(noMask.status, 413);
  t.regex(noMask.error, /^1 masks? of 64 x 48 would take/);
  t.is((await ask(needed + 4 * pixels)).status, 200);
});
