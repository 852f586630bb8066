import test from 'ava';
import { FinerCAM, GradCAM, loadModel, Tensor } from 'node-gradcam';
import { maxDifference, noise } from '../helpers/fixtures.js';
import { fixturePath } from '../helpers/root.js';
import { photo, type RunningServer, startServer } from '../helpers/server.js';

// A method's own options over all protocols, against the library's class with the same options.

let running: RunningServer;
test.before(async () => {
  running = await startServer({ models: { tiny: fixturePath('scripted.pt') } });
});
test.after.always(async () => {
  await running?.server.close();
});

const shape = [1, 3, 32, 32];
const values = noise(3 * 32 * 32, 3);
const nested = [0, 1, 2].map((channel) =>
  Array.from({ length: 32 }, (_, row) =>
    Array.from(values.subarray((channel * 32 + row) * 32, (channel * 32 + row + 1) * 32)),
  ),
);

async function mapsOf(options: Record<string, unknown>): Promise<Float32Array[]> {
  const v1 = await running.post('/v1/models/tiny:explain', {
    instances: [nested],
    method: 'finercam',
    options,
    class: 1,
  });
  const { explanations } = (await v1.json()) as { explanations: { maps: { heatmap: number[][] }[] }[] };
  const v2 = await running.post('/v2/models/tiny/infer', {
    inputs: [{ name: 'x', shape, datatype: 'FP32', data: [...values] }],
    parameters: { method: 'finercam', options: JSON.stringify(options), class: 1 },
    outputs: [{ name: 'heatmap' }],
  });
  const { outputs } = (await v2.json()) as { outputs: { data: number[] }[] };
  return [
    Float32Array.from(explanations[0]?.maps[0]?.heatmap.flat() ?? []),
    Float32Array.from(outputs[0]?.data ?? []),
  ];
}

test.serial("the options are the method's, each choice by itself", async (t) => {
  await using model = await loadModel(fixturePath('scripted.pt'));
  const input = Tensor.from(values, shape);
  const expected = async (options: { alpha?: number; comparisonCategories?: number[] }) => {
    const { heatmaps } = await new FinerCAM({ model, ...options }).explain(input, { targets: 1 });
    return heatmaps.toTypedArray() as Float32Array;
  };
  const choices = [{}, { alpha: 0.2 }, { alpha: 3, comparisonCategories: [2] }];
  const together = await Promise.all(choices.map(mapsOf));
  for (const [index, maps] of together.entries()) {
    const own = await expected(choices[index] ?? {});
    for (const map of maps) t.true(maxDifference(map, own) < 1e-5);
  }
  t.true(maxDifference(await expected({}), await expected(choices[2] ?? {})) > 0.01, 'they matter');
  const { heatmaps } = await new GradCAM({ model }).explain(input, { targets: 1 });
  t.true(maxDifference(heatmaps.toTypedArray() as Float32Array, await expected({})) > 0.01);
});

test.serial('plain: as JSON text; the description lists what there is', async (t) => {
  const options = encodeURIComponent(JSON.stringify({ samples: 2, std: 0.1, seed: 7 }));
  const response = await running.post(
    `/explain/tiny?method=smoothgradcam%2B%2B&options=${options}&format=json`,
    photo,
  );
  t.is(response.status, 200);
  const description = (await (await running.get('/explain/tiny')).json()) as {
    method_options: Record<string, Record<string, { description?: string }>>;
  };
  t.deepEqual(Object.keys(description.method_options.ablationcam ?? {}), [
    'batchSize',
    'ratioChannelsToAblate',
  ]);
  t.regex(description.method_options.finercam?.alpha?.description ?? '', /Default 1/);
  t.false('gradcam' in description.method_options);
});

for (const [query, code, message] of [
  ['method=gradcam&options={"alpha":1}', 'ERR_UNKNOWN_OPTION', /alpha.*'gradcam'/],
  ['method=finercam&options={"alpa":1}', 'ERR_UNKNOWN_OPTION', /alpa.*alpha/],
  ['method=finercam&options={"alpha":"x"}', 'ERR_INVALID_ARG_TYPE', /number for alpha/],
  ['method=ablationcam&options={"ratioChannelsToAblate":2}', 'ERR_OUT_OF_RANGE', /ratioChannelsToAblate/],
  ['method=ablationcam&options={"batchSize":5000}', 'ERR_INVALID_REQUEST', /at most 256/],
  ['method=finercam&options={', 'ERR_INVALID_REQUEST', /not JSON/],
  ['method=finercam&options=[1]', 'ERR_INVALID_REQUEST', /options/],
] as const) {
  test.serial(`EXPECTED FAILURE - ${query}`, async (t) => {
    const encoded = query.replace(/options=(.*)/, (_, json: string) => `options=${encodeURIComponent(json)}`);
    const response = await running.post(`/explain/tiny?${encoded}`, photo);
    const { code: actual, error } = (await response.json()) as { code: string; error: string };
    t.deepEqual([response.status, actual], [400, code]);
    t.regex(error, message);
  });
}
