import test, { type ExecutionContext } from 'ava';
import {
  EigenCAM,
  GradCAM,
  type GradCamError,
  KPCACAM,
  loadModel,
  type Model,
  setThreads,
  type Tensor,
  threads,
} from 'node-gradcam';
import {
  maxDifference,
  noise,
  readArray,
  readJson,
  readTensor,
  type StoredArray,
} from '../helpers/fixtures.js';
import { fixturePath } from '../helpers/root.js';
import { until } from '../helpers/until.js';

// Work that is too large is refused with its numbers, and work that nobody waits for any more ends.

interface Case {
  readonly model: string;
  readonly method: 'kpcacam' | 'eigencam';
  readonly input: StoredArray;
  readonly map: StoredArray;
  readonly referenceError: number;
}

const values = (tensor: Tensor) => tensor.toTypedArray() as Float32Array;
const square = (size: number, seed = 1) => ({
  data: noise(3 * size * size, seed),
  shape: [1, 3, size, size],
});

const methods = { kpcacam: KPCACAM, eigencam: EigenCAM };
for (const { model: file, method, input, map, referenceError } of readJson<Case[]>('limits/golden.json')) {
  const places = (input.shape[2] as number) ** 2;
  test.serial(`${method} at ${places} places of ${file} is pytorch-grad-cam's`, async (t) => {
    await using model = await loadModel(fixturePath(`limits/${file}`));
    using image = readTensor(input);
    using result = await new methods[method]({ model, targetLayers: 'conv' }).explain(image);
    const difference = maxDifference(values(result.heatmaps), readArray(map));
    t.true(difference <= 4 * referenceError + 1e-6, String(difference));
  });
}

test.serial('a map of a batch is that of its image alone, by both ways to the eigenvector', async (t) => {
  for (const [file, size] of [
    ['places_8.pt', 8],
    ['places_96.pt', 24],
  ] as const) {
    await using model = await loadModel(fixturePath(`limits/${file}`));
    const alone = square(size, 2);
    const data = new Float32Array(2 * alone.data.length);
    data.set(noise(alone.data.length, 3));
    data.set(alone.data, alone.data.length);
    for (const Method of [KPCACAM, EigenCAM]) {
      const cam = new Method({ model, targetLayers: 'conv' });
      using ofBatch = await cam.explain({ data, shape: [2, 3, size, size] });
      using ofOne = await cam.explain(alone);
      const [inBatch, byItself] = [ofBatch.heatmaps.at(1), ofOne.heatmaps.at(0)];
      t.true(maxDifference(values(inBatch), values(byItself)) < 1e-5, `${file} ${Method.name}`);
    }
  }
});

test.serial('KPCACAM tells what it cannot do, with the numbers and the cure', async (t) => {
  await using model = await loadModel(fixturePath('limits/places_8.pt'));
  const cam = new KPCACAM({ model, targetLayers: 'conv' });
  const { code, message } = (await t.throwsAsync(cam.explain(square(129)))) as GradCamError;
  t.is(code, 'ERR_TOO_LARGE');
  t.regex(message, /\[8, 129, 129\], 16641 places/);
  t.regex(message, /16384 places \(1\.0 GiB\)/);
  t.regex(message, /later layer, a smaller input, or EigenCAM/);
  using _ = await new EigenCAM({ model, targetLayers: 'conv' }).explain(square(129));
});

/** Aborts `work` when `when` has settled; the milliseconds from there until no job of the model runs. */
async function freedAfter(
  t: ExecutionContext,
  model: Model,
  work: (signal: AbortSignal) => Promise<unknown>,
  when: () => Promise<unknown> | unknown,
): Promise<number> {
  const controller = new AbortController();
  const reason = new Error('enough');
  const working = t.throwsAsync(work(controller.signal));
  await when();
  const start = performance.now();
  controller.abort(reason);
  t.is(await working, reason);
  await until('the executor to be free', () => model.stats().jobs.running === 0);
  return performance.now() - start;
}

const runs = (model: Model) => () => until('the job to run', () => model.stats().jobs.running === 1);

for (const [name, method] of [
  [
    'explain',
    (model: Model, signal: AbortSignal) =>
      new GradCAM({ model, targetLayers: 'conv' }).explain(square(8), { signal }),
  ],
  ['forward', (model: Model, signal: AbortSignal) => model.forward(square(8), { signal })],
] as const) {
  test.serial(`a forward that counts for minutes ends with its signal: ${name}`, async (t) => {
    const before = threads();
    setThreads({ executors: 1 });
    t.teardown(() => setThreads(before));
    await using model = await loadModel(fixturePath('limits/counts.pt'));
    // Were the work not ended, it would run on for longer than anything here waits.
    await freedAfter(t, model, (signal) => method(model, signal), runs(model));
    await until('the abort to be counted', () => model.stats().jobs.aborted === 1);
    // The one executor takes others' work.
    await using other = await loadModel(fixturePath('limits/places_8.pt'));
    using _ = await new GradCAM({ model: other, targetLayers: 'conv' }).explain(square(8));
  });
}

test.serial(
  'an operation-by-operation forward, and the walk back behind it, end with their signal',
  async (t) => {
    await using model = await loadModel(fixturePath('limits/multiplies.pt'));
    const cam = new GradCAM({ model, targetLayers: 'conv' });
    const image = square(48);
    let forwarded = () => {};
    const targets = (output: Tensor) => {
      forwarded();
      return output.select(0, 0);
    };
    const start = performance.now();
    let atScore = 0;
    forwarded = () => {
      atScore = performance.now() - start;
    };
    using whole = await cam.explain(image, { targets });
    const walk = performance.now() - start - atScore;
    t.true(whole.maps[0]?.hasPositiveEvidence !== undefined);

    const ofForward = await freedAfter(
      t,
      model,
      (signal) => cam.explain(image, { targets, signal }),
      runs(model),
    );
    t.true(ofForward < atScore / 2, `${ofForward} ms of ${atScore}`);
    const scored = new Promise<void>((resolve) => {
      forwarded = resolve;
    });
    const ofWalk = await freedAfter(
      t,
      model,
      (signal) => cam.explain(image, { targets, signal }),
      () => scored,
    );
    t.true(ofWalk < walk / 2, `${ofWalk} ms of ${walk}`);
    using again = await cam.explain(image, { targets });
    t.is(maxDifference(values(again.heatmaps), values(whole.heatmaps)), 0);
  },
);

test.serial('the largest kernel that is taken ends with its signal', async (t) => {
  await using model = await loadModel(fixturePath('limits/places_96.pt'));
  const cam = new KPCACAM({ model, targetLayers: 'conv' });
  // A kernel of a quarter of the places is a sixteenth of the work.
  const start = performance.now();
  using _ = await cam.explain(square(64));
  const ofQuarter = performance.now() - start;
  const freed = await freedAfter(t, model, (signal) => cam.explain(square(128), { signal }), runs(model));
  t.true(freed < 4 * ofQuarter, `${freed} ms, a quarter of the places takes ${ofQuarter}`);
});

test.serial('a plan that was being built for a job that is aborted is built for the others', async (t) => {
  const before = threads();
  setThreads({ executors: 3 });
  t.teardown(() => setThreads(before));
  await using model = await loadModel(fixturePath('limits/places_96.pt'));
  const cam = new GradCAM({ model, targetLayers: 'conv' });
  const controller = new AbortController();
  const first = cam.explain(square(8), { signal: controller.signal }).catch((error) => error);
  const others = Array.from({ length: 4 }, () => cam.explain(square(8)));
  setImmediate(() => controller.abort());
  await first;
  for (const each of others) (await each).dispose();
  t.is(model.stats().plans, 1);
});

test.serial(
  'further layers share the packed weights, each BatchNorm has its own, gradients have theirs',
  async (t) => {
    const { input, outputs } = readJson<{ input: string; outputs: number[] }>('limits/two_norms.json');
    await using model = await loadModel(fixturePath('limits/two_norms.pt'));
    const image = readTensor({ file: input, shape: [1, 3, 8, 8] });
    const { packedBytes: before } = model.stats().memory;
    t.is(before, 0);
    const packedBytes = async (layers: readonly string[]) => {
      const packed: number[] = [];
      for (const layer of layers) {
        const cam = new GradCAM({ model, targetLayers: layer });
        for (let call = 0; call < 3; call++) {
          using result = await cam.explain(image); // packed when a size comes the second time
          t.true(maxDifference(values(result.outputs as Tensor), outputs) < 1e-5, layer);
        }
        packed.push(model.stats().memory.packedBytes);
      }
      return packed;
    };
    const packed = await packedBytes(['last', 'late_norm', 'norm2', 'norm1']);
    // oneDNN fills up blocks: of 16 channels, and of up to 64 outputs of a matrix.
    const [kernel3, kernel1, matrix] = [4 * 16 * 16 * 9, 4 * 16 * 16, 4 * 64 * 16];
    // The stem, the convolution with each norm, one with another, the linear layer, and what stands before the last layer; the
    // head behind it, and for its gradient.
    const forward = 4 * (3 * 16 * 9 + 3 * 16 * 16 * 9 + 16 * 16 + 16 * 16);
    t.true(
      (packed[0] as number) > 0 && (packed[0] as number) <= 1.125 * forward + 2 * matrix,
      `${packed[0]}`,
    );
    // Of what comes to stand behind the layer only the gradient's order is new.
    const grown = packed.slice(1).map((bytes, index) => bytes - (packed[index] as number));
    for (const [index, most] of [kernel1, kernel3 + matrix, kernel3].entries())
      t.true((grown[index] as number) > 0 && (grown[index] as number) <= most, `${grown}`);
    const again = await packedBytes(['late_norm', 'norm1', 'last', 'norm2']);
    t.deepEqual(
      again,
      again.map(() => packed[3]),
    );
    await model.dispose();
    t.is(model.stats().memory.packedBytes, 0);
  },
);
