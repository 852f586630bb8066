import test from 'ava';
import {
  AblationCAM,
  type CAMOptions,
  coherency,
  compareMethods,
  DeepFeatureFactorization,
  deletionAuc,
  Explainer,
  explainStream,
  FullGrad,
  GradCAM,
  IntegratedGradients,
  loadModel,
  type ModelArguments,
  roadCombined,
  Saliency,
  ScoreCAM,
  SmoothGradCAMPlusPlus,
  setThreads,
  Tensor,
  threads,
} from 'node-gradcam';
import { maxDifference, noise, sameBits } from '../helpers/fixtures.js';
import { fixturePath } from '../helpers/root.js';
import { sharedModel } from '../helpers/shared-models.js';

// What a method takes beside tensors: conversion by its schema, defaults, and that the arguments reach whatever runs the
// model. The values themselves are compared with PyTorch's in kinds.test.ts.

const pathOf = (name: string) => fixturePath(`model-kinds/${name}.pt`);
const image = (count = 2, seed = 1) => Tensor.from(noise(count * 3 * 14 * 14, seed), [count, 3, 14, 14]);
const offset = (count = 2) => Tensor.from(noise(count * 8, 7), [count, 8]);
const valuesOf = (tensor: unknown) => (tensor as Tensor).toTypedArray() as Float32Array;
const signature =
  'forward(x: Tensor, scale: float, offset: Tensor, times: int = 1, square: bool = False, activation: str = "relu", ' +
  'shift: Optional[float] = None, kept: Optional[List[int]] = None, window: Tuple[int, int] = (2, 2), ' +
  'gains: Optional[Dict[str, float]] = None, tables: Optional[List[Tensor]] = None)';

test('a model tells the signatures of its methods', async (t) => {
  t.deepEqual((await sharedModel(pathOf('options'))).signatures, { forward: signature });
  t.deepEqual((await sharedModel(pathOf('remembers'))).signatures, {
    forward: 'forward(x: Tensor, sr: int)',
  });
  const two = await sharedModel(fixturePath('no_forward.pt'));
  t.deepEqual(Object.keys(two.signatures), [...two.methods]);
});

const misfits: readonly [ModelArguments, RegExp][] = [
  [{}, /nothing for the parameter 'scale' \(float\): give it by name/],
  [{ scale: 1, rate: 2 }, /no parameter 'rate'/],
  [{ scale: 1, x: 2 }, /'x' is the input itself/],
  [{ scale: 1, offset: 2 }, /There are 2 tensors and the method takes 1/],
  [{ scale: 'x' }, /Expected float for the argument 'scale', but received 'x' \(string\)/],
  [{ scale: null }, /Expected float .* received null/],
  [{ scale: true }, /Expected float .* received true \(boolean\)/],
  [{ scale: [1] }, /Expected float .* received a list of 1/],
  [{ scale: 1, times: 1.5 }, /Expected int for the argument 'times', but received 1.5 \(number\)/],
  [{ scale: 1, times: 2 ** 53 }, /Expected int .* as large as that are given as bigints/],
  [{ scale: 1, times: Number.NaN }, /Expected int .* received -?nan/],
  [{ scale: 1, times: true }, /Expected int .* received true/],
  [{ scale: 1, square: 1 }, /Expected bool .* received 1 \(number\)/],
  [{ scale: 1, activation: 5 }, /Expected str .* received 5/],
  [{ scale: 1, shift: 'none' }, /Expected float for the argument 'shift'/],
  [{ scale: 1, kept: 3 }, /Expected List\[int\] for the argument 'kept'/],
  [{ scale: 1, kept: [0, 'a'] }, /Expected int for the argument 'kept\[1\]', but received 'a'/],
  [{ scale: 1, kept: { 0: 1 } }, /Expected List\[int\] .* received an object/],
  [{ scale: 1, window: [2] }, /Expected Tuple\[int, int\], a list of 2 for the argument 'window'/],
  [{ scale: 1, window: [2, 2, 2] }, /a list of 2 .* received a list of 3/],
  [{ scale: 1, gains: [1] }, /Expected Dict\[str, float\] for the argument 'gains'/],
  [{ scale: 1, gains: { all: 'x' } }, /Expected float for the argument 'gains.all'/],
  [{ scale: 1, tables: 1 }, /Expected List\[Tensor\]/],
  [{ scale: 1, tables: [[1, [2]]] }, /Expected a list as long as its neighbours|a tensor's numbers/],
  [{ scale: 1, tables: [[[1, 2], [3]]] }, /'tables\[0\]\[1\]', but received a list of 1/],
  [{ scale: 1, tables: [[1, true]] }, /a number, as its neighbours/],
  [{ scale: 1, tables: ['x'] }, /Expected a tensor's numbers for the argument 'tables\[0\]'/],
];
for (const [given, message] of misfits)
  test(`EXPECTED FAILURE - ${JSON.stringify(given)}`, async (t) => {
    const model = await sharedModel(pathOf('options'));
    const cam = new GradCAM({ model, targetLayers: 'body' });
    const inputs = [image(), offset()];
    for (const run of [
      () => model.forward(inputs, { arguments: given }),
      () => model.inspect(inputs, { arguments: given }),
      () => cam.explain(inputs, { arguments: given }),
    ]) {
      const error = await t.throwsAsync(run, { code: 'ERR_MODEL_ARGUMENTS', message });
      t.true(error?.message.includes(signature), error?.message);
    }
  });

class Odd {
  readonly value = 1;
}
const itself: unknown[] = [];
itself.push(itself);
let deep: unknown = 1;
for (let level = 0; level < 40; level++) deep = [deep];
const odd: readonly [string, unknown, string][] = [
  ['a text', 'sr=1', 'ERR_INVALID_ARG_TYPE'],
  ['a list', [1], 'ERR_INVALID_ARG_TYPE'],
  ['null', null, 'ERR_INVALID_ARG_TYPE'],
  ['a function', { scale: () => 1 }, 'ERR_INVALID_ARG_TYPE'],
  ['a symbol', { scale: Symbol('s') }, 'ERR_INVALID_ARG_TYPE'],
  ['an instance', { scale: new Odd() }, 'ERR_INVALID_ARG_TYPE'],
  ['a Map', { gains: new Map([['all', 1]]) }, 'ERR_INVALID_ARG_TYPE'],
  ['a tensor', { scale: 1, tables: [Tensor.from([1], [1])] }, 'ERR_INVALID_ARG_TYPE'],
  ['nothing in a list', { kept: [undefined] }, 'ERR_INVALID_ARG_TYPE'],
  ['a hole in a list', { kept: Array(3) }, 'ERR_INVALID_ARG_TYPE'],
  ['a list in itself', { kept: itself }, 'ERR_INVALID_ARG_TYPE'],
  ['lists in lists in lists', { kept: deep }, 'ERR_OUT_OF_RANGE'],
  ['an integer of 65 bits', { times: 2n ** 63n }, 'ERR_OUT_OF_RANGE'],
];
for (const [name, given, code] of odd)
  test(`EXPECTED FAILURE - ${name}`, async (t) => {
    const model = await sharedModel(pathOf('options'));
    const options = { arguments: given as ModelArguments };
    await t.throwsAsync(() => model.forward([image(), offset()], options), { code });
    await t.throwsAsync(() => loadModel(pathOf('options'), options), { code });
    const cam = new GradCAM({ model, targetLayers: 'body' });
    await t.throwsAsync(() => cam.explain([image(), offset()], options), { code });
  });

test('integers come as numbers or as bigints, and integers are numbers of float', async (t) => {
  const model = await sharedModel(pathOf('options'));
  const inputs = [image(), offset()];
  const run = async (given: ModelArguments) => valuesOf(await model.forward(inputs, { arguments: given }));
  const expected = await run({ scale: 2, times: 2, kept: [1, 2, 3] });
  t.true(sameBits(await run({ scale: 2n, times: 2n, kept: [1n, 2, 3n] }), expected));
  t.true(sameBits(await run({ kept: [1, 2, 3], times: 2, scale: 2, shift: undefined }), expected));
  t.false(sameBits(await run({ scale: 2, times: 3, kept: [1, 2, 3] }), expected));
  // What the model says of an argument is the model's failure.
  await t.throwsAsync(() => run({ scale: 1, activation: 'gelu' }), {
    code: 'ERR_FORWARD',
    message: /activation=gelu.*activation is relu or tanh/s,
  });
});

test('arguments are those of the call, whatever becomes of the object', async (t) => {
  const model = await sharedModel(pathOf('options'));
  const cam = new GradCAM({ model, targetLayers: 'body' });
  const given = { scale: 1.5, kept: [0, 2, 5], gains: { all: 1.25 } };
  const inputs = [image(), offset()];
  const alone = await cam.explain(inputs, { arguments: structuredClone(given), targets: 1 });
  const running = cam.explain(inputs, { arguments: given, targets: 1 });
  given.scale = 9;
  given.kept.length = 0;
  given.gains.all = 0;
  t.true(sameBits(valuesOf((await running).heatmaps), valuesOf(alone.heatmaps)));
});

test('defaults at load: before the model’s own, behind those of a call', async (t) => {
  const plain = await sharedModel(pathOf('options'));
  await using model = await loadModel(pathOf('options'), {
    arguments: { scale: 2, activation: 'tanh', kept: [0, 1] },
    preflight: true,
  });
  const inputs = [image(), offset()];
  const same = async (given: ModelArguments, whole: ModelArguments) => {
    const cams = [model, plain].map((each) => new GradCAM({ model: each, targetLayers: 'body' }));
    const maps = await Promise.all(
      cams.map((cam, index) =>
        cam.explain(inputs, { arguments: index === 0 ? given : whole, targets: 2, upsample: false }),
      ),
    );
    t.true(sameBits(valuesOf(maps[0]?.heatmaps), valuesOf(maps[1]?.heatmaps)));
    t.true(sameBits(valuesOf(maps[0]?.outputs), valuesOf(maps[1]?.outputs)));
  };
  await same({}, { scale: 2, activation: 'tanh', kept: [0, 1] });
  await same({ scale: 0.5 }, { scale: 0.5, activation: 'tanh', kept: [0, 1] });
  await same({ kept: null, times: 2 }, { scale: 2, activation: 'tanh', times: 2 });

  const load = (given: ModelArguments) => loadModel(pathOf('options'), { arguments: given });
  await t.throwsAsync(() => load({ rate: 1 }), {
    code: 'ERR_MODEL_ARGUMENTS',
    message: /no parameter 'rate' beside its input: it has forward\(x: Tensor, scale: float/,
  });
  await t.throwsAsync(() => load({ x: 1 }), { code: 'ERR_MODEL_ARGUMENTS', message: /no parameter 'x'/ });
  await t.throwsAsync(() => load({ times: 'x' }), {
    code: 'ERR_MODEL_ARGUMENTS',
    message: /Expected int for the argument 'times'/,
  });
});

/** A number that is given once as an argument and once, as before there were any, as an input with a row for each image. */
const byInput = (rate: number, count = 2) => [
  image(count),
  Tensor.from(new Float32Array(count).fill(rate), [count]),
];

test('arguments reach whatever runs the model', async (t) => {
  const model = await sharedModel(pathOf('takes-number'));
  const at: CAMOptions = { model, targetLayers: 'conv' };
  type Run = (input: Tensor | Tensor[], given: { arguments?: ModelArguments }) => Promise<ArrayLike<number>>;
  const heat = (explanation: Promise<{ heatmaps: Tensor }>) =>
    explanation.then(({ heatmaps }) => valuesOf(heatmaps));
  const targets = 3;
  const ofInput = async (attribution: Promise<{ attributions: Tensor }>) =>
    valuesOf((await attribution).attributions);
  using heatmaps = Tensor.from(noise(2 * 14 * 14, 3).map(Math.abs), [2, 14, 14]);
  const everyWay: Record<string, Run> = {
    forward: async (input, given) => valuesOf(await model.forward(input, given)),
    GradCAM: (input, given) => heat(new GradCAM(at).explain(input, { targets, ...given })),
    'GradCAM, as it is': (input, given) =>
      heat(new GradCAM({ ...at, optimize: false }).explain(input, { targets, ...given })),
    'GradCAM, augmented': (input, given) =>
      heat(new GradCAM(at).explain(input, { targets, augSmooth: true, ...given })),
    'GradCAM, suggested layer': (input, given) =>
      heat(new GradCAM({ model }).explain(input, { targets, ...given })),
    ScoreCAM: (input, given) => heat(new ScoreCAM(at).explain(input, { targets, ...given })),
    AblationCAM: (input, given) => heat(new AblationCAM(at).explain(input, { targets, ...given })),
    FullGrad: (input, given) => heat(new FullGrad({ model }).explain(input, { targets, ...given })),
    SmoothGrad: (input, given) => heat(new SmoothGradCAMPlusPlus(at).explain(input, { targets, ...given })),
    Explainer: (input, given) => heat(new Explainer(at).explain(input, { targets, ...given })),
    compareMethods: async (input, given) => {
      const all = await compareMethods({ ...at, methods: ['gradcam', 'layercam', 'scorecam'] }, input, {
        targets,
        ...given,
      });
      return [...all.values()].flatMap((each) => [...valuesOf(each.heatmaps)]);
    },
    explainStream: async (input, given) => {
      for await (const { explanation } of explainStream(new GradCAM(at), [input], { targets, ...given }))
        return valuesOf(explanation.heatmaps);
      return [];
    },
    Saliency: (input, given) => ofInput(new Saliency({ model }).attribute(input, { targets, ...given })),
    IntegratedGradients: (input, given) =>
      ofInput(
        new IntegratedGradients({ model, steps: 5, batchSize: 2 }).attribute(input, { targets, ...given }),
      ),
    factorize: async (input, given) => {
      const factorization = new DeepFeatureFactorization({ model, targetLayer: 'conv' });
      return valuesOf((await factorization.factorize(input, { components: 2, ...given })).concepts);
    },
    road: (input, given) => roadCombined(model, input, heatmaps, { targets, ...given }),
    deletion: (input, given) => deletionAuc(model, input, heatmaps, { targets, pixelsPerStep: 40, ...given }),
  };
  for (const [name, run] of Object.entries(everyWay)) {
    const expected = Float64Array.from(await run(byInput(1.5), {}));
    const actual = Float64Array.from(await run(image(), { arguments: { rate: 1.5 } }));
    const other = Float64Array.from(await run(image(), { arguments: { rate: -0.75 } }));
    t.true(maxDifference(actual, expected) < 1e-5, `${name}: ${maxDifference(actual, expected)}`);
    t.true(maxDifference(other, expected) > 1e-3, `${name} sees the argument`);
  }
  const shapes = async (input: Tensor | Tensor[], given = {}) =>
    (await model.inspect(input, given)).layers.map(({ outputShapes }) => outputShapes);
  t.deepEqual(await shapes(image(), { arguments: { rate: 1.5 } }), await shapes(byInput(1.5)));
  const again = await coherency(new GradCAM(at), image(), heatmaps, { targets, arguments: { rate: 1.5 } });
  t.true(again.every(Number.isFinite));
});

test('what may belong to each image is not given to runs of one of them', async (t) => {
  const model = await sharedModel(pathOf('takes-number'));
  const at = { model, targetLayers: 'conv' };
  const options = { arguments: { rate: [1.5, 0.5] }, targets: 3 };
  for (const cam of [new AblationCAM(at), new ScoreCAM(at)])
    await t.throwsAsync(() => cam.explain(image(), options), {
      code: 'ERR_UNSUPPORTED',
      message: /'rate' may hold something for each of the 2 images/,
    });
  await t.throwsAsync(() => new IntegratedGradients({ model }).attribute(image(), options), {
    code: 'ERR_UNSUPPORTED',
  });
  const one = await new AblationCAM(at).explain(image(1), { ...options, arguments: { rate: [1.5] } });
  const number = await new AblationCAM(at).explain(image(1), { ...options, arguments: { rate: 1.5 } });
  t.true(sameBits(valuesOf(one.heatmaps), valuesOf(number.heatmaps)));
});

test('only calls with equal arguments share a batch of an Explainer', async (t) => {
  const model = await sharedModel(pathOf('options'));
  const at = { model, targetLayers: 'body' };
  const given: ModelArguments[] = [
    { scale: 1, gains: { all: 2, more: 0.5 } },
    { gains: { all: 2, more: 0.5 }, scale: 1 },
    { scale: 1, gains: { more: 0.5, all: 2 } }, // a dictionary's order is one's own
    { scale: 1, kept: [1, 2] },
    { scale: -1, kept: [1, 2] },
    { scale: 1, kept: null },
    { scale: 1 },
  ];
  const explainer = new Explainer({ ...at, maxBatch: 8 });
  const inputs = given.map((_, index) => [image(1, index + 1), offset(1)]);
  // The first call of a kind runs alone, and tells what rows of a batch look like.
  for (const each of [given[0], ...given.slice(2)])
    await explainer.explain(inputs[0] as Tensor[], { arguments: each ?? {}, targets: 2 });
  const together = await Promise.all(
    inputs.map((input, index) => explainer.explain(input, { arguments: given[index] ?? {}, targets: 2 })),
  );
  t.deepEqual(
    together.map(({ batchSize }) => batchSize),
    [2, 2, 1, 1, 1, 1, 1],
  );
  for (const [index, { heatmaps, outputs }] of together.entries()) {
    const alone = await new GradCAM(at).explain(inputs[index] as Tensor[], {
      arguments: given[index] ?? {},
      targets: 2,
    });
    t.true(maxDifference(valuesOf(heatmaps), valuesOf(alone.heatmaps)) < 1e-5, `map ${index}`);
    t.true(maxDifference(valuesOf(outputs), valuesOf(alone.outputs)) < 1e-6, `outputs ${index}`);
  }
  // One whose arguments do not fit fails alone.
  const [right, wrong] = await Promise.allSettled([
    explainer.explain(inputs[0] as Tensor[], { arguments: { scale: 1 } }),
    explainer.explain(inputs[1] as Tensor[], { arguments: { scale: 'x' } }),
  ]);
  t.is(right?.status, 'fulfilled');
  t.is((wrong as { reason?: { code: string } }).reason?.code, 'ERR_MODEL_ARGUMENTS');
});

test.serial('every call of a model that remembers starts from the state of its file', async (t) => {
  const model = await sharedModel(pathOf('remembers'));
  const signal = (count: number) => Tensor.from(noise(count * 40, count), [count, 40]);
  const run = async (count: number, sr: number) =>
    valuesOf(await model.forward(signal(count), { arguments: { sr } }));
  const [fast, slow, three] = [await run(2, 16_000), await run(2, 8000), await run(3, 8000)];
  const counts = threads();
  t.teardown(() => setThreads(counts));
  setThreads({ executors: 4, intraOpThreads: 1 });
  const crowd = await Promise.all(
    Array.from({ length: 60 }, (_, index) => run([2, 2, 3][index % 3] ?? 0, index % 3 === 0 ? 16_000 : 8000)),
  );
  for (const [index, output] of crowd.entries())
    t.true(sameBits(output, [fast, slow, three][index % 3] as Float32Array));
  await t.throwsAsync(() => run(1, 44_100), { code: 'ERR_FORWARD', message: /sr=44100.*8000 or 16000/s });
});

test('a list of images may have arguments beside it', async (t) => {
  const model = await sharedModel(pathOf('list-of-images'));
  t.true(model.takesImageList);
  const images = [image(1).at(0), image(1, 2).at(0)];
  const options = { arguments: { exponent: 1.5 }, targets: 3 };
  const { heatmaps, outputs } = await new GradCAM({ model, targetLayers: 'conv' }).explain(images, options);
  t.deepEqual([...heatmaps.shape], [2, 14, 14]);
  const alone = await model.forward(images, { arguments: { exponent: 1.5 } });
  t.true(maxDifference(valuesOf(outputs), valuesOf(alone)) < 1e-6);
  await t.throwsAsync(() => model.forward(images), {
    code: 'ERR_MODEL_ARGUMENTS',
    message: /nothing for the parameter 'exponent' \(float\)/,
  });
});

test('a name is read whole: what is behind a NUL belongs to it', async (t) => {
  const model = await sharedModel(pathOf('options'));
  const withGains = async (gains: Record<string, number>) =>
    valuesOf(await model.forward([image(), offset()], { arguments: { scale: 1, gains } }));
  // The gain of 'all' is multiplied with, every other is added.
  const added = await withGains({ other: 0.5 });
  t.true(sameBits(await withGains({ 'all\0': 0.5 }), added));
  t.false(sameBits(await withGains({ all: 0.5 }), added));
  t.true(sameBits(await withGains({ all: 2, 'all\0': 0.5 }), await withGains({ all: 2, other: 0.5 })));
  await t.throwsAsync(
    () => model.forward([image(), offset()], { arguments: { scale: 1, 'scale\0rate': 1 } }),
    { code: 'ERR_MODEL_ARGUMENTS', message: /no parameter 'scale\0rate' of the model's forward\(x: Tensor/ },
  );
});

test('a name with half a character is refused before the model is asked', async (t) => {
  const model = await sharedModel(pathOf('list-of-images'));
  await t.throwsAsync(() => model.forward([image(1).at(0)], { arguments: { exponent: 1.5, '\ud800': 1 } }), {
    code: 'ERR_OUT_OF_RANGE',
    message: /Expected whole characters for a name in arguments/,
  });
});
