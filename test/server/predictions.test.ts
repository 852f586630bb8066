import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { loadModel, type ModelOutput, Tensor } from 'node-gradcam';
import { describeIn } from '../helpers/dense-server.js';
import { maxDifference, noise } from '../helpers/fixtures.js';
import { holdExecutor } from '../helpers/hold-executor.js';
import { fixturePath } from '../helpers/root.js';
import { binaryInference, type RunningServer, readInference, startServer } from '../helpers/server.js';
import { holdRequest, jobsOf, metric, untilPending } from '../helpers/server-requests.js';
import { until } from '../helpers/until.js';

// Predictions of several connections run as one batch, and each gets what the model gives for its own image alone, of whatever
// kind the outputs are. A batch waits for as long as the tests may take, or until it is full: what came together shows in counts.

const together = 3;
const shares: Readonly<Record<string, boolean>> = {
  tensor: true,
  dictionary: true,
  tuple: true,
  nested: true,
  dictionaries: true,
  scalar: true,
  anchors: true,
  mean: false,
  windows: false,
  'second-axis': false,
};
const folder = mkdtempSync(join(tmpdir(), 'gradcam predictions '));
let running: RunningServer;
test.before(async () => {
  const input = { width: 16, height: 16 };
  const paths = await describeIn(folder, {
    ...Object.fromEntries(
      Object.keys(shares).map((name) => [
        name,
        { file: `outputs/${name}.pt`, sidecar: { layer: 'body', input } },
      ]),
    ),
    rated: {
      file: 'model-kinds/takes-number.pt',
      sidecar: { layer: 'conv', arguments: { rate: 1 }, input: { width: 14, height: 14 } },
    },
  });
  const models = Object.entries(paths).map(([name, path]) => [
    name,
    { path, maxBatch: name === 'rated' ? 2 : together, maxDelayMs: 60_000 },
  ]);
  running = await startServer({ models: Object.fromEntries(models) });
});
test.after.always(async () => {
  await running?.server.close();
  rmSync(folder, { recursive: true, force: true });
});

const shape = [1, 3, 16, 16];
const images = [1, 2, 3].map((seed) => noise(3 * 256, seed));

const infer = async (model: string, image: Float32Array, parameters: Record<string, unknown> = {}) => {
  const { body, headers } = binaryInference(
    { inputs: [{ name: 'x', shape, datatype: 'FP32' }], parameters },
    image,
  );
  return await running.post(`/v2/models/${model}/infer`, body, headers);
};

/** The tensors of an output under the names that the protocol gives them. */
function named(output: ModelOutput, name = 'output'): [string, Tensor][] {
  if (output instanceof Tensor) return [[name, output]];
  if (typeof output !== 'object' || output === null) return [];
  return Object.entries(output).flatMap(([key, value]) => named(value, `${name}.${key}`));
}

/** Batches and images of a model's predictions and explains so far. */
async function counts(model: string): Promise<{ batches: number; images: number }> {
  const of = (name: string) =>
    metric(running, new RegExp(`^${name}{model="${model}",version="1"} (\\d+)`, 'm'));
  return { batches: await of('nv_inference_exec_count'), images: await of('nv_inference_count') };
}

for (const [model, shared] of Object.entries(shares)) {
  test.serial(`outputs: ${model}`, async (t) => {
    await using alone = await loadModel(fixturePath(`outputs/${model}.pt`));
    const expected = await Promise.all(
      images.map(async (image) => named(await alone.forward(Tensor.from(image, shape)))),
    );
    for (const round of [1, 2, 3]) {
      const before = await counts(model);
      const answers = await Promise.all(images.map((image) => infer(model, image)));
      for (const [index, answer] of answers.entries()) {
        t.is(answer.status, 200);
        const { outputs } = await readInference(answer);
        const own = expected[index] ?? [];
        t.deepEqual(
          Object.keys(outputs),
          own.map(([name]) => name),
        );
        for (const [name, tensor] of own) {
          t.deepEqual(outputs[name]?.shape, [...tensor.shape], `${name}, round ${round}`);
          const values = Float64Array.from(tensor.toTypedArray() as Float32Array, Number);
          const difference = maxDifference(Float64Array.from(outputs[name]?.data ?? []), values);
          t.true(difference < 2e-5, `${name} of image ${index}, round ${round}: ${difference}`);
        }
      }
      const after = await counts(model);
      t.is(after.images - before.images, together);
      // What a call alone gives is learned in the first round, and whose outputs cannot be told apart in the second.
      if (round > 2) t.is(after.batches - before.batches, shared ? 1 : together, `round ${round}`);
    }
  });
}

test.serial('V1: instances of several requests share batches, each with its own answer', async (t) => {
  await using alone = await loadModel(fixturePath('outputs/tensor.pt'));
  const nested = (image: Float32Array) =>
    [0, 1, 2].map((channel) =>
      Array.from({ length: 16 }, (_, row) =>
        Array.from(image.subarray((channel * 16 + row) * 16, (channel * 16 + row + 1) * 16)),
      ),
    );
  const before = await counts('tensor');
  const [first, second, third] = images as [Float32Array, Float32Array, Float32Array];
  const answers = await Promise.all(
    [[first, second], [third]].map((some) =>
      running.post('/v1/models/tensor:predict', { instances: some.map(nested) }),
    ),
  );
  const predictions = (
    await Promise.all(answers.map(async (answer) => (await answer.json()) as { predictions: number[][] }))
  ).flatMap((each) => each.predictions);
  for (const [index, image] of images.entries()) {
    const output = (await alone.forward(Tensor.from(image, shape))) as Tensor;
    t.true(
      maxDifference(Float32Array.from(predictions[index] ?? []), output.toTypedArray() as Float32Array) <
        2e-5,
    );
  }
  const after = await counts('tensor');
  t.deepEqual([after.images - before.images, after.batches - before.batches], [3, 1]);
});

test.serial('one bad input of a batch fails alone', async (t) => {
  const bad = Float32Array.from(images[1] ?? [], (value, index) => (index === 100 ? Number.NaN : value));
  const [first, , third] = images as [Float32Array, Float32Array, Float32Array];
  const answers = await Promise.all([first, bad, third].map((image) => infer('tensor', image)));
  t.deepEqual(
    answers.map(({ status }) => status),
    [200, 400, 200],
  );
  t.like((await answers[1]?.json()) as object, { code: 'ERR_INPUT_NOT_FINITE' });
});

test.serial("a request's arguments are its own", async (t) => {
  await using alone = await loadModel(fixturePath('model-kinds/takes-number.pt'));
  const small = [1, 3, 14, 14];
  const image = noise(3 * 196, 5);
  const ask = async (rate: number) => {
    const request = binaryInference(
      {
        inputs: [{ name: 'x', shape: small, datatype: 'FP32' }],
        parameters: { arguments: JSON.stringify({ rate }) },
      },
      image,
    );
    return await running.post('/v2/models/rated/infer', request.body, request.headers);
  };
  // Each rate fills a batch of its own.
  const rates = [0.5, 2, 0.5, 2];
  const answers = await Promise.all(rates.map(ask));
  for (const [index, answer] of answers.entries()) {
    t.is(answer.status, 200);
    const { outputs } = await readInference(answer);
    const output = await alone.forward(Tensor.from(image, small), {
      arguments: { rate: rates[index] as number },
    });
    const expected = (output as Tensor).toTypedArray() as Float32Array;
    t.true(maxDifference(Float32Array.from(outputs.output?.data ?? []), expected) < 2e-5);
  }
  t.deepEqual(await counts('rated'), { images: 4, batches: 2 });
});

test.serial('a deadline holds while a prediction waits, and those that wait with it go on', async (t) => {
  const before = await counts('tensor');
  const late = await infer('tensor', images[0] as Float32Array, { deadline_ms: 50 });
  t.is(late.status, 504);
  t.like((await late.json()) as object, { code: 'ERR_DEADLINE_EXCEEDED' });
  const answers = await Promise.all(images.map((image) => infer('tensor', image)));
  t.deepEqual(
    answers.map(({ status }) => status),
    [200, 200, 200],
  );
  const after = await counts('tensor');
  t.deepEqual(
    [after.images - before.images, after.batches - before.batches],
    [3, 1],
    'the late one was not run',
  );
});

test.serial('a client that leaves takes its prediction out of the batch', async (t) => {
  const before = await counts('tensor');
  const { body, headers } = binaryInference(
    { inputs: [{ name: 'x', shape, datatype: 'FP32' }] },
    images[0] as Float32Array,
  );
  const leaving = holdRequest(running.url, '/v2/models/tensor/infer', { body, headers });
  const answer = leaving.finish();
  await untilPending(running, 1);
  leaving.destroy();
  await t.throwsAsync(answer);
  await untilPending(running, 0);
  const answers = await Promise.all(images.map((image) => infer('tensor', image)));
  t.deepEqual(
    answers.map(({ status }) => status),
    [200, 200, 200],
  );
  const after = await counts('tensor');
  t.is(after.images - before.images, 3);
});

test.serial('while the executor is busy, what comes shares the next batch without any delay', async (t) => {
  await using eager = await startServer({
    models: { tensor: join(folder, 'tensor.pt') },
    maxBatch: 16,
  });
  await using held = await holdExecutor();
  const ask = async (image: Float32Array) => {
    const { body, headers } = binaryInference({ inputs: [{ name: 'x', shape, datatype: 'FP32' }] }, image);
    return await eager.post('/v2/models/tensor/infer', body, headers);
  };
  const first = ask(images[0] as Float32Array);
  await until(
    'the first to run',
    () => jobsOf(eager, 'tensor').waiting + jobsOf(eager, 'tensor').running > 0,
  );
  const others = [...images, ...images].map(ask);
  await untilPending(eager, 7);
  await held.release();
  const answers = await Promise.all([first, ...others]);
  t.true(answers.every(({ status }) => status === 200));
  const batches = /^nv_inference_exec_count{model="tensor",version="1"} (\d+)/m;
  t.is(await metric(eager, batches), 2);
});
