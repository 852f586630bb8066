import test from 'ava';
import {
  AblationCAM,
  type CAMOptions,
  describePlan,
  EigenCAM,
  Explainer,
  FullGrad,
  GradCAM,
  IntegratedGradients,
  loadModel,
  type ModelArguments,
  type ModelOutput,
  Saliency,
  ScoreCAM,
  ShapleyCAM,
  setThreads,
  Tensor,
  threads,
} from 'node-gradcam';
import { maxDifference, readJson, sameBits } from '../helpers/fixtures.js';
import { closeToFloat64, ways } from '../helpers/float64-result.js';
import { fixturePath } from '../helpers/root.js';
import { sharedModel } from '../helpers/shared-models.js';

// Networks of kinds that other people write: what sees strides, writes in place, keeps state, unpacks sizes, is one closed
// operator, takes more than tensors. Values by plain autograd in double precision, of the same network without what is tested:
// tools/fixtures/networks/model_kinds.py.

interface Values {
  readonly shape: readonly number[];
  readonly values: readonly (number | '-inf')[];
}

interface KindCase {
  readonly name: string;
  readonly file: string;
  readonly arguments?: ModelArguments;
  readonly target?: number;
  readonly method: 'GradCAM' | 'AblationCAM';
  readonly layer: string;
  readonly output?: string;
  readonly inputs: readonly Values[];
  readonly maps: Values;
  readonly outputs: Values;
  readonly referenceError: { readonly maps: number; readonly outputs: number };
}

const { cases } = readJson<{ cases: readonly KindCase[] }>('model-kinds/golden.json');
const pathOf = (name: string) => fixturePath(`model-kinds/${name}.pt`);
const caseOf = (name: string) => cases.find((each) => each.name === name) as KindCase;
const numbers = ({ values }: Values) => values.map((value) => (value === '-inf' ? -Infinity : value));
const tensorOf = (values: Values) => Tensor.from(Float32Array.from(numbers(values)), values.shape);
const inputsOf = ({ inputs }: KindCase) => inputs.map(tensorOf);
const targets = 1;

const methods = {
  GradCAM: (options: CAMOptions) => new GradCAM(options),
  AblationCAM: (options: CAMOptions) => new AblationCAM({ ...options, batchSize: 3 }),
};

/** The classes' outputs, which a named tuple holds as its first element. */
const classesOf = (outputs: ModelOutput) => (Array.isArray(outputs) ? outputs[0] : outputs) as Tensor;

for (const golden of cases) {
  for (const { optimize, dtype } of ways) {
    test(`${golden.name}: ${golden.method}, optimize ${optimize}, ${dtype}`, async (t) => {
      const model = await sharedModel(pathOf(golden.file), dtype);
      const given = golden.arguments === undefined ? {} : { arguments: golden.arguments };
      const targets = golden.target ?? 1;
      const output = golden.output === undefined ? {} : { output: golden.output };
      const cam = methods[golden.method]({ model, targetLayers: golden.layer, optimize, ...output });
      const inputs = inputsOf(golden);
      const before = inputs.map((each) => each.toTypedArray());
      // The second time is like the first: neither the input nor the model was changed.
      for (const time of ['first', 'second']) {
        const { heatmaps, outputs } = await cam.explain(inputs, { ...given, targets, upsample: false });
        t.deepEqual([...heatmaps.shape], [...golden.maps.shape]);
        closeToFloat64(t, `${time} map`, heatmaps, numbers(golden.maps), {
          referenceError: golden.referenceError.maps,
          dtype,
        });
        closeToFloat64(t, `${time} outputs`, classesOf(outputs), numbers(golden.outputs), {
          referenceError: golden.referenceError.outputs,
          dtype,
        });
      }
      closeToFloat64(t, 'forward', classesOf(await model.forward(inputs, given)), numbers(golden.outputs), {
        referenceError: golden.referenceError.outputs,
        dtype,
      });
      for (const [index, input] of inputs.entries())
        t.true(sameBits(input.toTypedArray() as Float32Array, before[index] as Float32Array));
    });
  }
}

test('AblationCAM is the same for every number of rows in a run', async (t) => {
  const golden = caseOf('unpacks');
  const model = await sharedModel(pathOf('unpacks'));
  for (const batchSize of [1, 2, 3, 7, 8, 64]) {
    const cam = new AblationCAM({ model, targetLayers: golden.layer, batchSize });
    const { heatmaps } = await cam.explain(inputsOf(golden), { targets, upsample: false });
    closeToFloat64(t, `batchSize ${batchSize}`, heatmaps, numbers(golden.maps), {
      referenceError: golden.referenceError.maps,
    });
  }
});

test('a branch that only a chain of flags decides does not run', async (t) => {
  const { prefix, tail } = await describePlan(
    await sharedModel(pathOf('sets-flags')),
    caseOf('sets-flags').layer,
  );
  t.notRegex(prefix.graph + tail.graph, /prim::If|SetAttr/);
});

test('attention inside of scripted layers is written out, and its matrix products are fused', async (t) => {
  const { prefix, fusedLinears } = await describePlan(await sharedModel(pathOf('encoder-in-front')), 'top');
  t.notRegex(prefix.graph, /_native_multi_head_attention|_transformer_encoder_layer_fwd/);
  t.true(fusedLinears >= 2 * 4); // of each of two layers those of attention, and two behind it
});

test('methods that run a model again and again give what they give for one that writes nothing', async (t) => {
  // The same network, normalised outside of it.
  const golden = caseOf('normalises-input');
  const model = await sharedModel(pathOf('normalises-input'));
  const input = tensorOf(golden.inputs[0] as Values);
  const before = input.toTypedArray() as Float32Array;
  const at = { model, targetLayers: golden.layer };
  const results = async () =>
    await Promise.all([
      new ScoreCAM(at).explain(input, { targets }).then(({ heatmaps }) => heatmaps),
      new GradCAM(at).explain(input, { targets, augSmooth: true }).then(({ heatmaps }) => heatmaps),
      new FullGrad({ model }).explain(input, { targets }).then(({ heatmaps }) => heatmaps),
      new Saliency({ model }).attribute(input, { targets }).then(({ attributions }) => attributions),
      new IntegratedGradients({ model, steps: 3 })
        .attribute(input, { targets })
        .then(({ attributions }) => attributions),
    ]);
  const first = await results();
  for (const [index, again] of (await results()).entries())
    t.true(sameBits(again.toTypedArray() as Float32Array, first[index]?.toTypedArray() as Float32Array));
  t.true(sameBits(input.toTypedArray() as Float32Array, before));
});

test.serial('a forward that writes attributes gives every caller what one alone gets', async (t) => {
  const golden = caseOf('counts');
  await using model = await loadModel(pathOf('counts'));
  const cam = new GradCAM({ model, targetLayers: golden.layer });
  const input = tensorOf(golden.inputs[0] as Values);
  const calls = () => model.stats().jobs.done;
  const counts = threads();
  t.teardown(() => setThreads(counts));
  setThreads({ executors: 4, intraOpThreads: 1 });
  const expected = (await cam.explain(input, { targets, upsample: false })).outputs as Tensor;
  const bits = expected.toTypedArray() as Float32Array;
  for (let round = 0; round < 20; round++) {
    const crowd = await Promise.all(
      Array.from({ length: 50 }, () => cam.explain(input, { targets, upsample: false })),
    );
    for (const result of crowd) {
      t.true(sameBits((result.outputs as Tensor).toTypedArray() as Float32Array, bits));
      result.dispose();
    }
  }
  t.is(calls(), 1001);
});

test('attention has a second derivative where it is asked for', async (t) => {
  const golden = caseOf('encoder');
  const model = await sharedModel(pathOf('encoder'));
  for (const optimize of [true, false]) {
    const cam = new ShapleyCAM({ model, targetLayers: golden.layer, optimize });
    const { maps } = await cam.explain(inputsOf(golden), { targets });
    t.true(maps.every(({ hasPositiveEvidence }) => hasPositiveEvidence));
  }
});

test('an Explainer gives each caller its own of a file that was traced while it trained', async (t) => {
  const golden = caseOf('trains');
  await using model = await loadModel(pathOf('trains'));
  const weights = async () =>
    ((await model.forward(inputsOf(golden))) as Tensor).toTypedArray() as Float32Array;
  const before = await weights();
  const explainer = new Explainer({ model, targetLayers: golden.layer, maxBatch: 2 });
  const image = tensorOf(golden.inputs[0] as Values).at(0);
  const one = Tensor.from(image.toTypedArray(), [1, ...image.shape]);
  await Promise.all([explainer.explain(one), explainer.explain(one)]);
  t.true(sameBits(await weights(), before), 'its running statistics stay');
});

test('methods that only look at activations need no target, whatever the model gives', async (t) => {
  await using model = await loadModel(fixturePath('detection/deeplabv3.pt'));
  const input = Tensor.from(new Float32Array(3 * 48 * 64).fill(0.5), [1, 3, 48, 64]);
  const cam = new EigenCAM({ model, targetLayers: 'backbone.layer4', output: 'out' });
  const { maps } = await cam.explain(input);
  t.is(maps.length, 1);
  t.is(maps[0]?.classIndex, null);
  t.true(Number.isNaN(maps[0]?.score));
});

test('maps have the size of the image, on whichever axes of the input it is', async (t) => {
  for (const name of ['takes-channels-last', 'adds-channel-axis']) {
    const model = await sharedModel(pathOf(name));
    const [input] = inputsOf(caseOf(name));
    if (!input) return t.fail();
    const plain = { model, targetLayers: 'conv' };
    for (const cam of [
      new GradCAM(plain),
      new ScoreCAM(plain),
      new AblationCAM(plain),
      new EigenCAM(plain),
    ]) {
      const { heatmaps } = await cam.explain(input, { targets });
      t.deepEqual([...heatmaps.shape], [2, 24, 24], `${name}, ${cam.constructor.name}`);
    }
  }
});

test('images with their channels last are mirrored from left to right, not in their colours', async (t) => {
  // Mirrored input, mirrored map: augmentation makes the same of both.
  const model = await sharedModel(pathOf('takes-channels-last'));
  const [input] = inputsOf(caseOf('takes-channels-last'));
  if (!input) return t.fail();
  const mirrored = Float32Array.from(input.toTypedArray() as Float32Array);
  const row = 24 * 3;
  for (let start = 0; start < mirrored.length; start += row) {
    const pixels = Array.from({ length: 24 }, (_, column) =>
      mirrored.slice(start + column * 3, start + column * 3 + 3),
    );
    for (const [column, pixel] of pixels.reverse().entries()) mirrored.set(pixel, start + column * 3);
  }
  const cam = new GradCAM({ model, targetLayers: 'conv' });
  const explain = async (x: Tensor) => {
    const { heatmaps } = await cam.explain(x, { targets, augSmooth: [{ flip: false }, { flip: true }] });
    return heatmaps.toTypedArray() as Float32Array;
  };
  const [map, mapOfMirrored] = [await explain(input), await explain(Tensor.from(mirrored, input.shape))];
  const turned = Float32Array.from(map, (_, index) => {
    const column = index % 24;
    return map[index - column + 23 - column] ?? Number.NaN;
  });
  t.true(maxDifference(mapOfMirrored, turned) < 1e-5);
});

test('where the channels are, weights tell the suggestion', async (t) => {
  const signal = await sharedModel(pathOf('signal-tokens'));
  t.is((await signal.suggestLayer(inputsOf(caseOf('signal-tokens')))).path, 'patch');
  const windows = await sharedModel(pathOf('windows'));
  const suggested = await windows.suggestLayer(inputsOf(caseOf('windows')));
  t.is(suggested.path, 'block');
  t.like(suggested.reshapeTransform as object, { kind: 'nhwc' });
});

test('a nested tensor, as an encoder makes of padding, has no shape and is no map', async (t) => {
  const input = inputsOf(caseOf('padded-encoder'));
  for (const name of ['padded-encoder', 'padded-encoder-scripted']) {
    const model = await sharedModel(pathOf(name));
    const { layers } = await model.inspect(input);
    t.deepEqual(layers.find(({ path }) => path === 'encoder.layers.0')?.outputShapes, [null]);
    t.deepEqual(layers.find(({ path }) => path === 'top')?.outputShapes, [[2, 8, 6, 6]]);
    const cam = new EigenCAM({ model, targetLayers: 'encoder.layers.0' });
    await t.throwsAsync(cam.explain(input), { code: 'ERR_LAYER_OUTPUT', message: /nested/ });
  }
});
