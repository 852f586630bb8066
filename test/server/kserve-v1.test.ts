import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import test from 'ava';
import {
  type ExplainBatchMessage,
  GradCAM,
  imageOptions,
  loadImage,
  loadModel,
  loadSidecar,
  type Model,
  Tensor,
} from 'node-gradcam';
import { liteModel, noise, sameBits } from '../helpers/fixtures.js';
import { asCloseAs, yardstick } from '../helpers/float64-result.js';
import { photo, type RunningServer, startServer } from '../helpers/server.js';

interface Explanations {
  readonly explanations: readonly {
    readonly method: string;
    readonly layers: readonly { readonly path: string }[];
    readonly top: readonly { readonly class: number; readonly label: string }[];
    readonly maps: readonly {
      readonly class: number;
      readonly score: number;
      readonly shape: number[];
      readonly heatmap?: unknown;
    }[];
  }[];
}

let running: RunningServer;
let model: Model;
test.before(async () => {
  running = await startServer({ maxBatch: 4 });
  model = await loadModel(liteModel, { dtype: 'float32' });
});
test.after.always(async () => {
  await running.server.close();
  await model.dispose();
});

/** [3, 224, 224] as JSON has it. */
function nested(values: Float32Array): number[][][] {
  return [0, 1, 2].map((channel) =>
    Array.from({ length: 224 }, (_, row) =>
      Array.from(values.subarray((channel * 224 + row) * 224, (channel * 224 + row + 1) * 224)),
    ),
  );
}

test.serial('the models, and whether they are ready', async (t) => {
  const json = async (path: string) => (await running.get(path)).json();
  t.deepEqual(await json('/v1/models'), { models: ['lite'] });
  t.deepEqual(await json('/v1/models/lite'), { name: 'lite', ready: true });
  const missing = await running.get('/v1/models/resnet');
  t.is(missing.status, 404);
  t.regex(((await missing.json()) as { error: string }).error, /^Model with name resnet does not exist\./);
});

test.serial(':predict gives the outputs of each instance', async (t) => {
  const [first, second] = [noise(3 * 224 * 224, 1), noise(3 * 224 * 224, 2)];
  const response = await running.post('/v1/models/lite:predict', {
    instances: [nested(first), { tensor: nested(second) }],
  });
  t.is(response.status, 200);
  const { predictions } = (await response.json()) as { predictions: number[][] };
  for (const [index, image] of [first, second].entries()) {
    // They ran as one batch, which may round otherwise.
    const expected = await yardstick(liteModel, async ({ model: each }) => {
      return (await each.forward(Tensor.from(image, [1, 3, 224, 224]))) as Tensor;
    });
    asCloseAs(t, `instance ${index}`, Float32Array.from(predictions[index] ?? []), expected);
  }
});

test.serial(':explain gives the maps, equal to the library to the bit', async (t) => {
  const image = noise(3 * 224 * 224, 7);
  const expected = await new GradCAM({ model, targetLayers: '_conv_head' }).explain(
    Tensor.from(image, [1, 3, 224, 224]),
    { targets: 9 },
  );
  const ask = async (form: string) => {
    const body = { instances: [nested(image)], class: 9, layer: '_conv_head', heatmap: form };
    return (await (await running.post('/v1/models/lite:explain', body)).json()) as Explanations;
  };
  const [asArray] = (await ask('array')).explanations;
  const rows = asArray?.maps[0]?.heatmap as number[][];
  t.is(rows.length, 224);
  t.true(sameBits(Float32Array.from(rows.flat()), expected.heatmaps.toTypedArray()));
  t.like(asArray, {
    method: 'gradcam',
    layers: [{ path: '_conv_head' }],
    maps: [{ class: 9, score: expected.scores[0] }],
  });
  const [asBase64] = (await ask('base64')).explanations;
  t.true(
    sameBits(Buffer.from(asBase64?.maps[0]?.heatmap as string, 'base64'), expected.heatmaps.toTypedArray()),
  );
  t.is((await ask('none')).explanations[0]?.maps[0]?.heatmap, undefined);
});

test.serial('each instance has its own class, and pictures go beside tensors', async (t) => {
  const b64 = photo.toString('base64');
  const instances = [
    { b64, class: 'tabby' },
    { image_bytes: { b64 }, class: [282, 285] },
    { data: b64 },
    nested(noise(3 * 224 * 224)),
  ];
  const response = await running.post('/v1/models/lite:explain', {
    instances,
    class: 3,
    heatmap: 'base64',
    method: 'gradcam',
  });
  const { explanations } = (await response.json()) as Explanations;
  t.deepEqual(
    explanations.map(({ maps }) => maps.map((map) => map.class)),
    [[281], [282, 285], [3], [3]],
  );
  t.is(explanations[0]?.top[0]?.label, 'tiger cat');
  const sidecar = await loadSidecar(liteModel);
  const image = await loadImage(photo, sidecar ? imageOptions(sidecar) : {});
  const shared = new Float32Array(
    new Uint8Array(Buffer.from(explanations[0]?.maps[0]?.heatmap as string, 'base64')).buffer,
  );
  // Computed in one batch with the others, which rounds differently.
  const alone = await yardstick(
    liteModel,
    async (plainly) => (await new GradCAM(plainly).explain(image.tensor, { targets: 281 })).heatmaps,
  );
  asCloseAs(t, 'shared', shared, alone);
});

const refused = test.macro(async (t, verb: string, body: object, message: RegExp, status: number) => {
  const response = await running.post(`/v1/models/lite:${verb}`, body, {
    'content-type': 'application/json',
  });
  const answer = (await response.json()) as { error: string };
  t.is(response.status, status, JSON.stringify(answer));
  t.regex(answer.error, message);
});
test.serial('refused: no instances', refused, 'explain', { instances: [] }, /instances/, 400);
test.serial(
  'refused: an empty instance',
  refused,
  'explain',
  { instances: [{}] },
  /instances\[0\] needs/,
  400,
);
test.serial('refused: a number', refused, 'explain', { instances: [3] }, /instances/, 400);
test.serial(
  'refused: two of everything',
  refused,
  'explain',
  { instances: [{ b64: 'aaaa', data: 'aaaa', tensor: [[[1]]] }] },
  /needs nested numbers, or one of/,
  400,
);
test.serial(
  'refused: ragged',
  refused,
  'explain',
  { instances: [[[[1, 2], [3]]]] },
  /instances\[0\] is ragged/,
  400,
);
test.serial(
  'refused: a wrong shape',
  refused,
  'predict',
  { instances: [[[[1, 2]]]] },
  /shape|size|channels/i,
  400,
);
test.serial(
  'refused: a misspelt key',
  refused,
  'explain',
  { instances: [[[[1]]]], methd: 'gradcam' },
  /methd/,
  400,
);
test.serial(
  'refused: explain keys for predict',
  refused,
  'predict',
  { instances: [[[[1]]]], method: 'gradcam' },
  /method/,
  400,
);
test.serial('refused: an unknown verb', refused, 'explode', { instances: [[[[1]]]] }, /nothing at POST/, 404);

test.serial('refused: what is not JSON, and prototype poisoning', async (t) => {
  const send = (body: string) =>
    running.post('/v1/models/lite:explain', Buffer.from(body), { 'content-type': 'application/json' });
  t.is((await send('{"instances": [')).status, 400);
  t.is((await send('{"instances": [[[[1]]]], "__proto__": {"method": "x"}}')).status, 400);
});

test.serial('where one instance fails, the others are not explained any more', async (t) => {
  let images = 0;
  const count = (message: unknown) => {
    images += (message as ExplainBatchMessage).images;
  };
  subscribe('gradcam:explain:batch', count);
  t.teardown(() => unsubscribe('gradcam:explain:batch', count));
  const picture = { b64: photo.toString('base64') };
  const explain = (instances: readonly object[]) => running.post('/v1/models/lite:explain', { instances });
  const refused = await explain([{ b64: 'bm8gcGljdHVyZQ==' }, ...Array.from({ length: 40 }, () => picture)]);
  t.is(refused.status, 400);
  // What was left of the others would be decoded and explained before it.
  t.is((await explain([picture])).status, 200);
  t.true(images <= 10, `${images} images were explained`);
});
