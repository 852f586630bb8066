import test from 'ava';
import { readArray, readJson, type StoredArray } from '../helpers/fixtures.js';
import { closeToFloat64 } from '../helpers/float64-result.js';
import { fixturePath } from '../helpers/root.js';
import {
  binaryInference,
  floatsOf,
  photo,
  type RunningServer,
  readInference,
  startServer,
} from '../helpers/server.js';

// Vision transformers and ConvNeXts as they are exported, with the reshape transform of their sidecars, over the server:
// pytorch-grad-cam's maps in double precision (tools/fixtures/architectures/transformers.py).

const { cases } = readJson<{
  cases: readonly {
    readonly name: string;
    readonly method: string;
    readonly model: string;
    readonly input: StoredArray;
    readonly targetLayers: readonly string[];
    readonly targets: readonly (readonly number[])[];
    readonly expected: { readonly heatmaps: StoredArray };
    readonly referenceError: { readonly heatmaps: number };
  }[];
}>('transformers/golden.json');
const floats = (stored: StoredArray) =>
  readArray({ ...stored, file: `transformers/${stored.file}` }) as Float32Array;
const usual = cases.filter(({ method }) => method === 'GradCAM');
const nameOf = (model: string) => model.replace('.pt', '');

let running: RunningServer;
test.before(async () => {
  const models = usual.map(({ model }) => [nameOf(model), fixturePath(`transformers/${model}`)]);
  running = await startServer({ models: Object.fromEntries(models) });
});
test.after.always(async () => {
  await running?.server.close();
});

for (const { name, model, input, targets, targetLayers, expected, referenceError } of usual) {
  test.serial(`${name}: V2 with each image's class, and a picture`, async (t) => {
    const { body, headers } = binaryInference(
      {
        inputs: [
          { name: 'x', shape: input.shape, datatype: 'FP32' },
          { name: 'class', shape: [targets.length], datatype: 'INT64' },
        ],
        parameters: { layer: targetLayers.join(','), binary_data_output: true },
      },
      floats(input),
      BigInt64Array.from(targets.flat(), BigInt),
    );
    const response = await running.post(`/v2/models/${nameOf(model)}/infer`, body, headers);
    t.is(response.status, 200);
    const { outputs } = await readInference(response);
    closeToFloat64(t, name, floatsOf(outputs.heatmap?.bytes ?? null), floats(expected.heatmaps), {
      referenceError: referenceError.heatmaps,
    });
    const drawn = await running.post(`/explain/${nameOf(model)}`, photo);
    t.is(drawn.headers.get('content-type'), 'image/png');
  });
}
