import { readFileSync } from 'node:fs';
import test from 'ava';
import { readArray, readJson, type StoredArray } from '../helpers/fixtures.js';
import { closeToFloat64 } from '../helpers/float64-result.js';
import { fixturePath } from '../helpers/root.js';
import { floatsOf, photo, type RunningServer, readInference, startServer } from '../helpers/server.js';
import { jobsOf } from '../helpers/server-requests.js';

// CLIP by text over all protocols: maps, similarities and probabilities of open_clip in double precision, see
// tools/fixtures/architectures/clip.py. No sidecar is needed: an archive with both encoders is a CLIP.

const golden = readJson<{
  readonly prompts: readonly string[];
  readonly resnet: {
    readonly similarities: readonly number[];
    readonly probabilities: readonly number[];
    readonly referenceError: { readonly similarities: number; readonly probabilities: number };
  };
  readonly cases: readonly {
    readonly name: string;
    readonly heatmaps: StoredArray;
    readonly referenceError: { readonly heatmaps: number };
  }[];
}>('clip/golden.json');
const { prompts, resnet } = golden;
const caseOf = (name: string) =>
  golden.cases.find((each) => each.name === name) as (typeof golden.cases)[number];

let running: RunningServer;
test.before(async () => {
  running = await startServer({
    models: {
      resnet: fixturePath('clip/resnet.pt'),
      vit: fixturePath('clip/vit.pt'),
      classifier: fixturePath('scripted.pt'),
    },
  });
});
test.after.always(async () => {
  await running?.server.close();
});

const cat = new Uint8Array(readFileSync(fixturePath('clip/cat-128.png')));
const inBase64 = Buffer.from(cat).toString('base64');
interface TextMap {
  readonly class: number;
  readonly label: string;
  readonly probability: number;
  readonly similarity: number;
  readonly heatmap: { readonly data: string } & string;
}

function areGolden(
  t: import('ava').ExecutionContext,
  maps: readonly TextMap[],
  bytesOf: (map: TextMap) => string,
) {
  const { heatmaps, referenceError } = caseOf('resnet-layer4-dot');
  t.deepEqual(
    maps.map(({ class: position, label }) => [position, label]),
    prompts.map((prompt, index) => [index, prompt]),
  );
  const values = Buffer.concat(maps.map((map) => Buffer.from(bytesOf(map), 'base64')));
  closeToFloat64(t, 'maps', floatsOf(Buffer.from(new Uint8Array(values).buffer)), readArray(heatmaps), {
    referenceError: referenceError.heatmaps,
  });
  for (const [key, expected, error] of [
    ['similarity', resnet.similarities, resnet.referenceError.similarities],
    ['probability', resnet.probabilities, resnet.referenceError.probabilities],
  ] as const)
    closeToFloat64(
      t,
      key,
      maps.map((map) => map[key]),
      expected,
      { referenceError: error },
    );
}

test.serial('plain: a map for each text', async (t) => {
  const query = new URLSearchParams(prompts.map((prompt): [string, string] => ['text', prompt]));
  const response = await running.post(`/explain/resnet?format=json&${query}`, cat);
  t.is(response.status, 200);
  const answer = (await response.json()) as { task: string; method: string; explained: TextMap[] };
  t.is(answer.task, 'clip');
  t.is(answer.method, 'gradcam');
  areGolden(t, answer.explained, ({ heatmap }) => heatmap.data);
  const drawn = await running.post(`/explain/resnet?${query}`, cat);
  t.is(drawn.headers.get('content-type'), 'image/png');
});

test.serial('V1: texts for all, or of one instance', async (t) => {
  const response = await running.post('/v1/models/resnet:explain', {
    instances: [{ b64: inBase64 }, { b64: inBase64, texts: prompts[0] }],
    texts: prompts,
    heatmap: 'base64',
  });
  t.is(response.status, 200);
  const { explanations } = (await response.json()) as { explanations: { maps: TextMap[] }[] };
  const [all, one] = explanations as [{ maps: TextMap[] }, { maps: TextMap[] }];
  areGolden(t, all.maps, ({ heatmap }) => heatmap);
  t.is(one.maps.length, 1);
  t.is(one.maps[0]?.probability, 1, 'among one');
  t.true(Math.abs((one.maps[0]?.similarity ?? 0) - (resnet.similarities[0] ?? 1)) < 1e-5);
});

test.serial('V2: texts by a parameter or an input', async (t) => {
  const picture = { name: 'x', shape: [1], datatype: 'BYTES', data: [inBase64] };
  const { heatmaps, referenceError } = caseOf('resnet-layer4-dot');
  for (const body of [
    { inputs: [picture], parameters: { texts: JSON.stringify(prompts), binary_data_output: true } },
    {
      inputs: [picture, { name: 'texts', shape: [prompts.length], datatype: 'BYTES', data: prompts }],
      parameters: { binary_data_output: true },
    },
  ]) {
    const response = await running.post('/v2/models/resnet/infer', body);
    t.is(response.status, 200);
    const { outputs } = await readInference(response);
    closeToFloat64(t, 'maps', floatsOf(outputs.heatmap?.bytes ?? null), readArray(heatmaps), {
      referenceError: referenceError.heatmaps,
    });
    closeToFloat64(t, 'similarities', floatsOf(outputs.similarities?.bytes ?? null), resnet.similarities, {
      referenceError: resnet.referenceError.similarities,
    });
    t.deepEqual([...new BigInt64Array(outputs.classes?.bytes?.buffer as ArrayBuffer)], [0n, 1n, 2n]);
  }
});

test.serial('a ViT takes LeGrad by itself, and another method by name', async (t) => {
  const small = new Uint8Array(readFileSync(fixturePath('clip/cat-64.png')));
  const query = new URLSearchParams(prompts.map((prompt): [string, string] => ['text', prompt]));
  const response = await running.post(`/explain/vit?format=json&${query}`, small);
  const answer = (await response.json()) as { method: string; explained: TextMap[] };
  t.is(answer.method, 'legrad');
  const { heatmaps, referenceError } = caseOf('vit-legrad');
  const count = heatmaps.shape[0] ?? 0;
  const values = Buffer.concat(
    answer.explained.slice(0, count).map(({ heatmap }) => Buffer.from(heatmap.data, 'base64')),
  );
  closeToFloat64(t, 'maps', floatsOf(Buffer.from(new Uint8Array(values).buffer)), readArray(heatmaps), {
    referenceError: referenceError.heatmaps,
  });
  const other = await running.post(`/explain/vit?format=json&text=a&method=gradcam`, small);
  t.is(other.status, 200);
});

test.serial('the embedding of a text is kept', async (t) => {
  const ask = () => running.post('/explain/resnet?format=json&text=a%20text%20that%20is%20new', photo);
  const before = jobsOf(running, 'resnet').done;
  t.is((await ask()).status, 200);
  const first = jobsOf(running, 'resnet').done - before;
  t.is((await ask()).status, 200);
  t.is(jobsOf(running, 'resnet').done - before - first, first - 1);
});

for (const [path, status, code, message] of [
  ['resnet', 400, 'ERR_INVALID_REQUEST', /is a CLIP: say what to look for/],
  ['resnet?text=a&class=1', 400, 'ERR_INVALID_REQUEST', /class or texts, not both/],
  ['classifier?text=a', 400, 'ERR_INVALID_REQUEST', /of a CLIP only/],
  [`resnet?text=${'cat%20'.repeat(100)}`, 400, 'ERR_PROMPT_TOO_LONG', /takes 75/],
  ['vit?text=a&method=finercam', 501, 'ERR_UNSUPPORTED', /compares classes/],
] as const) {
  test.serial(`EXPECTED FAILURE - ${path.slice(0, 40)}`, async (t) => {
    const response = await running.post(`/explain/${path}`, photo);
    const { code: actual, error } = (await response.json()) as { code: string; error: string };
    t.deepEqual([response.status, actual], [status, code]);
    t.regex(error, message);
  });
}
