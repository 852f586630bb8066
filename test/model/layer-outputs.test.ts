import test from 'ava';
import {
  AblationCAM,
  DeepFeatureFactorization,
  EigenCAM,
  GradCAM,
  type GradCamError,
  ScoreCAM,
  type TargetLayer,
  type Tensor,
} from 'node-gradcam';
import { gradcam } from '../helpers/cli.js';
import { readJson } from '../helpers/fixtures.js';
import { closeToFloat64, ways } from '../helpers/float64-result.js';
import { fixturePath } from '../helpers/root.js';
import { sharedModel } from '../helpers/shared-models.js';
import { type StoredValues, tensorOf } from '../helpers/stored-values.js';

// Layers that give several tensors: which one is explained, and what a gradient of it is. Values by plain autograd on what
// PyTorch's own hooks see, in double precision: tools/fixtures/networks/layer_outputs.py.

interface OutputCase {
  readonly name: string;
  readonly method: 'GradCAM' | 'EigenCAM' | 'AblationCAM';
  readonly layer: string;
  readonly output: readonly (string | number)[];
  readonly call?: number;
  readonly reshape?: 'tokens';
  /** The rule finds the output. */
  readonly found?: true;
  readonly input: string;
  readonly category: number;
  readonly maps: StoredValues;
  readonly outputs: StoredValues;
  readonly referenceError: { readonly maps: number; readonly outputs: number };
}

const { cases, inputs } = readJson<{
  cases: readonly OutputCase[];
  inputs: Readonly<Record<string, StoredValues>>;
}>('layer-outputs/golden.json');
const pathOf = (name: string) => fixturePath(`layer-outputs/${name}.pt`);
const inputOf = (kind: string) => tensorOf(inputs[kind] as StoredValues);
const methods = { GradCAM, EigenCAM, AblationCAM };

for (const golden of cases) {
  const { name, layer, output, call } = golden;
  for (const { optimize, dtype } of ways) {
    test(`${name}, ${layer}[${output.join('][')}]: ${golden.method}, optimize ${optimize}, ${dtype}`, async (t) => {
      const model = await sharedModel(pathOf(name), dtype);
      const named = golden.found || output.length === 0 ? {} : { output };
      const cam = new methods[golden.method]({
        model,
        optimize,
        targetLayers: { path: layer, ...named, ...(call === undefined ? {} : { call }) },
        ...(golden.reshape ? { reshapeTransform: golden.reshape } : {}),
        output: name.startsWith('blocks') ? 0 : [],
      });
      const options = { targets: golden.category, upsample: false };
      const { heatmaps, outputs, layers } = await cam.explain(inputOf(golden.input), options);
      t.deepEqual([...heatmaps.shape], [...golden.maps.shape]);
      t.deepEqual([...(layers[0]?.output ?? [])], [...output]);
      closeToFloat64(t, 'map', heatmaps, golden.maps.values, {
        referenceError: golden.referenceError.maps,
        dtype,
      });
      const classes = (Array.isArray(outputs) ? outputs[0] : outputs) as Tensor;
      closeToFloat64(t, 'outputs', classes, golden.outputs.values, {
        referenceError: golden.referenceError.outputs,
        dtype,
      });
    });
  }
}

const caseOf = (name: string) => cases.find((each) => each.name === name) as OutputCase;
const explainBlocks = async (targetLayers: TargetLayer, reshapeTransform?: 'tokens' | 'featurePyramid') => {
  const model = await sharedModel(pathOf('blocks'));
  const options = { model, output: 0, targetLayers, ...(reshapeTransform ? { reshapeTransform } : {}) };
  return await new GradCAM(options).explain(inputOf('pictures'), { targets: 0, upsample: false });
};

test("'b0[0]' is { path: 'b0', output: 0 }", async (t) => {
  const short = await explainBlocks('b0[0]', 'tokens');
  const long = await explainBlocks({ path: 'b0', output: 0 }, 'tokens');
  t.deepEqual(short.heatmaps.toTypedArray(), long.heatmaps.toTypedArray());
  t.deepEqual(short.layers, long.layers);
});

test('whatever transform is asked for, the error says what the layer gives and how to name one', async (t) => {
  for (const transform of [undefined, 'tokens', 'featurePyramid'] as const) {
    const error = await t.throwsAsync<GradCamError>(explainBlocks('b0', transform));
    t.is(error?.code, 'ERR_LAYER_OUTPUT');
    t.regex(error?.message ?? '', /0: \[2, 16, 16\], 1: \[2, 16, 16\]/);
    t.regex(error?.message ?? '', /\{ path: 'b0', output: 0 \}/);
  }
});

test('an output that there is not is an error with those that there are', async (t) => {
  for (const output of [2, 'weights', [0, 0]]) {
    const error = await t.throwsAsync<GradCamError>(explainBlocks({ path: 'b0', output }, 'tokens'));
    t.is(error?.code, 'ERR_LAYER_OUTPUT');
    t.regex(error?.message ?? '', /0: \[2, 16, 16\], 1: \[2, 16, 16\]/);
  }
  const one = await t.throwsAsync<GradCamError>(explainBlocks('b0.norm[0]', 'tokens'));
  t.is(one?.code, 'ERR_LAYER_OUTPUT');
  t.regex(one?.message ?? '', /gives one tensor/);
  await t.throwsAsync(explainBlocks({ path: 'b0', output: -1 }), { code: 'ERR_INVALID_ARG_TYPE' });
});

test('features and their gate, or a list of maps of one size, are no pyramid', async (t) => {
  for (const { name, layer } of [caseOf('gated'), caseOf('stack')]) {
    const model = await sharedModel(pathOf(name));
    const cam = new GradCAM({ model, targetLayers: layer });
    const error = await t.throwsAsync<GradCamError>(cam.explain(inputOf('pictures'), { targets: 0 }));
    t.is(error?.code, 'ERR_LAYER_OUTPUT');
    t.regex(error?.message ?? '', /not the levels of a feature pyramid/);
    // Whoever says that it is one knows.
    const asked = new GradCAM({ model, targetLayers: layer, reshapeTransform: 'featurePyramid' });
    t.is((await asked.explain(inputOf('pictures'), { targets: 0 })).layers[0]?.output.length, 0);
  }
});

test('a named tuple keeps its names behind the hook', async (t) => {
  const model = await sharedModel(pathOf('parts'));
  const cam = new GradCAM({ model, targetLayers: 'body', reshapeTransform: 'featurePyramid' });
  const { outputs } = await cam.explain(inputOf('pictures'), { targets: 0 });
  t.deepEqual([...(outputs as Tensor).shape], [2, 5]);
});

test('ScoreCAM and factorization take the named output', async (t) => {
  const { layer, output, category } = caseOf('gated');
  const model = await sharedModel(pathOf('gated'));
  const options = { model, targetLayers: { path: layer, output } };
  const plain = { ...options, optimize: false };
  const fast = await new ScoreCAM(options).explain(inputOf('pictures'), { targets: category });
  const slow = await new ScoreCAM(plain).explain(inputOf('pictures'), { targets: category });
  closeToFloat64(t, 'map', fast.heatmaps, slow.heatmaps, { referenceError: 1e-6 });
  const factorization = new DeepFeatureFactorization({ model, targetLayer: 'body[0]' });
  const { explanations } = await factorization.factorize(inputOf('pictures'), { components: 2 });
  t.deepEqual([...explanations.shape], [2, 2, 24, 24]);
});

test('one call of a layer is factorized, not all of them', async (t) => {
  const model = await sharedModel(pathOf('gated'));
  const of = (call: number | 'last' | 'all') =>
    new DeepFeatureFactorization({ model, targetLayer: { path: 'body', output: 0, call } });
  t.throws(() => of('all'), {
    instanceOf: RangeError,
    code: 'ERR_OUT_OF_RANGE',
    message: /targetLayer\.call/,
  });
  const [first, last] = await Promise.all(
    [of(0), of('last')].map((each) => each.factorize(inputOf('pictures'), { components: 2 })),
  );
  t.deepEqual(first?.explanations.toTypedArray(), last?.explanations.toTypedArray());
});

test('inspect() and `gradcam layers` show what there is to name', async (t) => {
  const model = await sharedModel(pathOf('pyramid'));
  const { layers } = await model.inspect(inputOf('pictures'));
  t.deepEqual(layers.find(({ path }) => path === 'body')?.outputs, [
    { output: ['fine'], shape: [2, 8, 11, 11] },
    { output: ['middle'], shape: [2, 6, 5, 5] },
    { output: ['coarse'], shape: [2, 4, 1, 1] },
  ]);
  t.deepEqual(layers.find(({ path }) => path === 'body.fine')?.outputs, []);
  const { stdout } = await gradcam(['layers', pathOf('pyramid'), '--input-size', '24']);
  t.regex(stdout, /body +Pyramid +\[fine\]: \[1, 8, 11, 11\] {2}\[middle\]: \[1, 6, 5, 5\]/);
});
