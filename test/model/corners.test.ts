import test from 'ava';
import {
  AblationCAM,
  type BaseCAM,
  FullGrad,
  GradCAM,
  type GradCamError,
  LeGrad,
  loadModel,
  SmoothGradCAMPlusPlus,
  Tensor,
} from 'node-gradcam';
import { maxDifference, readJson } from '../helpers/fixtures.js';
import { fixturePath } from '../helpers/root.js';
import { runScript } from '../helpers/run-script.js';
import { type StoredValues, tensorOf } from '../helpers/stored-values.js';

// Corners of loading a file and running it. Values by plain PyTorch in double precision: tools/fixtures/networks/corners.py.

interface Mapped {
  readonly input: StoredValues;
  readonly map: StoredValues;
}
interface Run {
  readonly input: StoredValues;
  readonly outputs: StoredValues;
}

const golden = readJson<{
  readonly towers: readonly { readonly inputs: readonly StoredValues[]; readonly map: StoredValues }[];
  readonly manyPrefixTokens: Mapped;
  readonly loading: { readonly lists: Run; readonly frozen: Run; readonly frozenHalf: Run };
  readonly pair: { readonly inputs: readonly StoredValues[]; readonly map: StoredValues };
  readonly handsOnList: Mapped;
  readonly fullGradOfGates: Mapped;
}>('corners/golden.json');
const pathOf = (name: string) => fixturePath(`corners/${name}.pt`);
const tolerance = 2e-5;

for (const { inputs, map } of golden.towers) {
  test(`LeGrad beside a text of ${inputs[1]?.shape[1]} tokens`, async (t) => {
    await using model = await loadModel(pathOf('towers'));
    const { heatmaps } = await new LeGrad({ model }).explain(inputs.map(tensorOf), {
      targets: 1,
      upsample: false,
    });
    t.true(maxDifference(heatmaps.toTypedArray(), map.values) < tolerance);
  });
}

test('many tokens before those of the image are told from a larger grid', async (t) => {
  const { input, map } = golden.manyPrefixTokens;
  await using model = await loadModel(pathOf('many-prefix-tokens'));
  const { suggested } = await model.inspect(tensorOf(input));
  t.like(suggested, { path: 'norm', reshapeTransform: { kind: 'tokens', prefixTokens: 17 } });
  const { heatmaps } = await new GradCAM({ model }).explain(tensorOf(input), { targets: 1, upsample: false });
  t.true(maxDifference(heatmaps.toTypedArray(), map.values) < tolerance);
});

for (const [file, run, dtype, expected] of [
  ['keeps-lists', golden.loading.lists, 'auto', 'float32'],
  ['keeps-lists', golden.loading.lists, 'float64', 'float64'],
  ['frozen-lists', golden.loading.lists, 'auto', 'float32'],
  ['frozen-lists', golden.loading.lists, 'float64', 'float64'],
  ['frozen', golden.loading.frozen, 'auto', 'float32'],
  ['frozen', golden.loading.frozen, 'float64', 'float64'],
  ['frozen-half', golden.loading.frozenHalf, 'auto', 'float32'],
  ['frozen-half', golden.loading.frozenHalf, 'float64', 'float64'],
] as const) {
  test(`${file} loaded as ${dtype}`, async (t) => {
    await using model = await loadModel(pathOf(file), { dtype });
    t.is(model.dtype, expected);
    const outputs = (await model.forward(tensorOf(run.input))) as Tensor;
    t.is(outputs.dtype, expected);
    const bound = expected === 'float64' ? 1e-6 : tolerance; // of the stored values, rounded to seven digits
    t.true(maxDifference(outputs.toTypedArray(), run.outputs.values) < bound);
  });
}

test('a method that takes no list gets its inputs one by one, also where forward takes a list', async (t) => {
  const { inputs, map } = golden.pair;
  await using model = await loadModel(pathOf('takes-list-or-pair'));
  t.true(model.takesImageList);
  const cam = new GradCAM({ model, targetLayers: 'body', modelMethod: 'pair' });
  const { heatmaps } = await cam.explain(inputs.map(tensorOf), { targets: 1, upsample: false });
  t.true(maxDifference(heatmaps.toTypedArray(), map.values) < tolerance);
  const { layers } = await model.inspect(inputs.map(tensorOf), { modelMethod: 'pair' });
  t.deepEqual(layers.find(({ path }) => path === 'body')?.outputShapes, [[2, 8, 8, 8]]);
});

test('a list whose length has nothing to do with the images may cross the layer', async (t) => {
  const { input, map } = golden.handsOnList;
  await using model = await loadModel(pathOf('hands-on-list'));
  const cam = new AblationCAM({ model, targetLayers: 'body' });
  const { heatmaps } = await cam.explain(tensorOf(input), { targets: 1, upsample: false });
  t.true(maxDifference(heatmaps.toTypedArray(), map.values) < 1e-4);
});

test('FullGrad leaves out the bias of a layer that gives several outputs', async (t) => {
  const { input, map } = golden.fullGradOfGates;
  await using model = await loadModel(pathOf('gated'));
  const { heatmaps } = await new FullGrad({ model }).explain(tensorOf(input), { targets: 1 });
  t.true(maxDifference(heatmaps.toTypedArray(), map.values) < tolerance);
});

test('noise that changes how often a layer is called is refused', async (t) => {
  await using model = await loadModel(pathOf('calls-again'));
  const input = Tensor.from(new Float32Array(3 * 64).fill(0.5), [1, 3, 8, 8]);
  const noise = Tensor.from(new Float32Array(3 * 64).fill(5), [1, 1, 3, 8, 8]);
  const cam = new SmoothGradCAMPlusPlus({ model, targetLayers: { path: 'body', call: 'all' }, noise });
  const failure = await t.throwsAsync<GradCamError>(cam.explain(input, { targets: 1 }));
  t.is(failure?.code, 'ERR_UNSUPPORTED');
  t.regex(failure?.message ?? '', /2 times, and without it 1 times/);
});

test('a layer that gives nothing for so small an input says so', async (t) => {
  await using model = await loadModel(pathOf('leaves-nothing'));
  const input = Tensor.from(new Float32Array(3 * 256).fill(0.5), [1, 3, 16, 16]);
  for (const optimize of [true, false]) {
    const cam = new GradCAM({ model, targetLayers: 'crop', optimize });
    const failure = await t.throwsAsync<GradCamError>(cam.explain(input, { targets: 1 }));
    t.is(failure?.code, 'ERR_LAYER_OUTPUT');
    t.regex(failure?.message ?? '', /'crop' gives \[1, 8, 0, 8\], which holds nothing/);
  }
});

test('methods that look at the whole network share no forward', async (t) => {
  await using model = await loadModel(fixturePath('traced.pt'));
  const [gradCam, fullGrad] = [new GradCAM({ model }), new FullGrad({ model })];
  const input = Tensor.from(new Float32Array(3 * 32 * 32).fill(0.5), [1, 3, 32, 32]);
  type Together = (
    cams: readonly BaseCAM[],
    inputs: readonly (readonly Tensor[])[],
    how: object,
  ) => Promise<unknown>;
  const together = (gradCam as unknown as { explainTogether: Together }).explainTogether.bind(gradCam);
  const how = {
    targets: [[{ kind: 'rank', category: 0 }]],
    upsample: 'none',
    augmentations: [],
    eigenSmooth: false,
    modelArguments: { given: {}, key: '' },
  };
  const failure = await t.throwsAsync<GradCamError>(together([gradCam, fullGrad], [[input]], how));
  t.is(failure?.code, 'ERR_UNSUPPORTED');
});

test('no wrong number of steps or rows keeps an executor for ever', async (t) => {
  const { code, stderr } = await runScript(`
    import { createRequire } from 'node:module';
    const native = createRequire(process.cwd() + '/')('./build/cmake/gradcam.node');
    native.setThreads(0, 0);
    const how = { device: 'cpu', dtype: 'auto', libraries: [], precision: 'float32', tf32: false, cudnnBenchmark: false, arguments: {} };
    const cancellation = native.createCancellation();
    const { reference: model } = await native.loadModel('test/fixtures/scripted.pt', how, cancellation);
    const tensor = (...shape) => native.tensorFromTypedArray(
      new Float32Array(shape.reduce((a, b) => a * b)).map((_, index) => Math.sin(index)), shape).reference;
    const common = { modelMethod: 'forward', output: [], targets: [[{ kind: 'class', category: 1 }]] };
    const inputs = { tensors: [[tensor(1, 3, 24, 24)]], arguments: {} };
    for (const count of [0, -5]) {
      for (const name of ['ScoreCAM', 'AblationCAM', 'SmoothGradCAMPlusPlus'])
        await native.explain(model, { ...common, inputs, methods: [{ name, eigenSmooth: false, batchSize: count, samples: count }],
          augmentations: [], layers: [{ path: 'layer2', call: 'last', output: [] }], reshape: null, upsample: 'none', optimize: true }, cancellation);
      await native.attribute(model, { ...common, inputs, kind: 'integrated-gradients', rule: 'gausslegendre', steps: 3,
        batchSize: count, baseline: 0 }, cancellation);
      await native.perturbedScores(model, { ...common, inputs, heatmaps: tensor(1, 24, 24), kind: 'deletion',
        percentile: 50, noise: 0, seed: 1, pixelsPerStep: count, baseline: 0 }, cancellation);
    }
    native.close();
  `);
  t.is(code, 0, stderr);
});
