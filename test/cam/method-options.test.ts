import test from 'ava';
import {
  AblationCAM,
  BaseCAM,
  compareMethods,
  Explainer,
  FinerCAM,
  GradCAM,
  loadModel,
  type MethodName,
  type Model,
  methodNames,
  RandomCAM,
  Tensor,
} from 'node-gradcam';
import { createCam } from '../../lib/cam/methods/registry.js';
import { maxDifference, noise, sameBits } from '../helpers/fixtures.js';
import { fixturePath } from '../helpers/root.js';

// What single methods take beside what all do, wherever a method is chosen by its name.

const input = Tensor.from(noise(3 * 576), [1, 3, 24, 24]);
const targetLayers = 'layer1';

let model: Model;
test.before(async () => {
  model = await loadModel(fixturePath('scripted.pt'));
});
test.after.always(() => model.dispose());

const wrong: readonly (readonly [MethodName, object, string, RegExp])[] = [
  ['gradcam', { alpha: 1 }, 'ERR_UNKNOWN_OPTION', /'alpha' in the options of 'gradcam'\. There are none/],
  ['ablationcam', { ratio: 0.5 }, 'ERR_UNKNOWN_OPTION', /are: batchSize, ratioChannelsToAblate\./],
  [
    'ablationcam',
    { ratioChannelsToAblate: 0 },
    'ERR_OUT_OF_RANGE',
    /above 0, up to 1 for ratioCh.*received 0/,
  ],
  ['ablationcam', { ratioChannelsToAblate: '1' }, 'ERR_INVALID_ARG_TYPE', /'1' \(string\)/],
  ['ablationcam', { batchSize: 1.5 }, 'ERR_OUT_OF_RANGE', /an integer from 1 to 65536 for batchSize/],
  ['scorecam', { batchSize: 0 }, 'ERR_OUT_OF_RANGE', /an integer from 1 to 65536/],
  ['scorecam', { batchSize: null }, 'ERR_INVALID_ARG_TYPE', /received null/],
  ['fem', { k: Number.NaN }, 'ERR_OUT_OF_RANGE', /a finite number for k/],
  ['fem', { k: Number.POSITIVE_INFINITY }, 'ERR_OUT_OF_RANGE', /a finite number for k/],
  ['finercam', { base: 'toString' }, 'ERR_INVALID_ARG_TYPE', /one of 'gradcam', 'layercam'/],
  ['finercam', { comparisonCategories: [] }, 'ERR_OUT_OF_RANGE', /an array of ranks/],
  ['finercam', { comparisonCategories: [1, -1] }, 'ERR_OUT_OF_RANGE', /received '\[1, -1\]'/],
  ['finercam', { comparisonCategories: 1 }, 'ERR_INVALID_ARG_TYPE', /an array of ranks/],
  ['refinecam', { base: 'eigencam' }, 'ERR_INVALID_ARG_TYPE', /one of 'gradcam', 'gradcam\+\+'/],
  ['cam', { linear: 3 }, 'ERR_INVALID_ARG_TYPE', /a linear layer's path/],
  ['smoothgradcam++', { samples: 0 }, 'ERR_OUT_OF_RANGE', /an integer from 1 to 10000/],
  ['smoothgradcam++', { std: -1 }, 'ERR_OUT_OF_RANGE', /a number of at least 0/],
  ['smoothgradcam++', { noise: input }, 'ERR_UNKNOWN_OPTION', /are: samples, std, seed\./],
  ['randomcam', { seed: 2 ** 60 }, 'ERR_OUT_OF_RANGE', /an integer of at least 0/],
  ['gradcam', { model: null }, 'ERR_UNKNOWN_OPTION', /'model'/],
];

for (const [method, options, code, message] of wrong) {
  test(`${method} with ${Object.keys(options)} of ${Object.values(options)}: ${code}`, async (t) => {
    const own = options as object;
    t.throws(() => createCam({ model, targetLayers }, { method, options: own }), { code, message });
    t.throws(() => new Explainer({ model, targetLayers, method, options: own }), { code, message });
    await t.throwsAsync(
      compareMethods({ model, targetLayers, methods: [method], options: { [method]: own } }, input),
      { code, message },
    );
  });
}

test('every method has a row in the table of options, and none has one too many', (t) => {
  for (const method of methodNames)
    t.throws(() => createCam({ model }, { method, options: { nothing: 1 } as object }), {
      code: 'ERR_UNKNOWN_OPTION',
    });
  for (const method of ['magic', 'toString', '__proto__', 3, null])
    t.throws(() => createCam({ model }, { method: method as MethodName }), {
      code: 'ERR_INVALID_ARG_TYPE',
      message: /one of 'gradcam', 'hirescam'/,
    });
});

test('options reach the method, by name in an Explainer and a comparison', async (t) => {
  const ratioChannelsToAblate = 0.25;
  const expected = await new AblationCAM({ model, targetLayers, ratioChannelsToAblate }).explain(input);
  const plain = await new AblationCAM({ model, targetLayers }).explain(input);
  const bits = ({ heatmaps }: { heatmaps: Tensor }) => heatmaps.toTypedArray();
  t.false(sameBits(bits(expected), bits(plain)));
  const explainer = new Explainer({
    model,
    targetLayers,
    method: 'ablationcam',
    options: { ratioChannelsToAblate },
  });
  t.true(sameBits(bits(await explainer.explain(input)), bits(expected)));
  const seed = 7;
  const compared = await compareMethods(
    {
      model,
      targetLayers,
      methods: ['gradcam', 'ablationcam', 'randomcam'],
      options: { ablationcam: { ratioChannelsToAblate }, randomcam: { seed } },
    },
    input,
  );
  const random = await new RandomCAM({ model, targetLayers, seed }).explain(input);
  t.true(sameBits(bits(compared.get('ablationcam') as never), bits(expected)));
  t.true(sameBits(bits(compared.get('randomcam') as never), bits(random)));
  await t.throwsAsync(
    compareMethods({ model, targetLayers, methods: ['gradcam'], options: { randomcam: { seed } } }, input),
    { code: 'ERR_UNKNOWN_OPTION', message: /'randomcam'/ },
  );
});

test('an Explainer of a CAM that is there already', async (t) => {
  class Halves extends FinerCAM {}
  const cam = new Halves({ model, targetLayers, alpha: 0.5, comparisonCategories: [1] });
  const expected = await cam.explain(input, { targets: 1 });
  const explainer = new Explainer({ cam, maxBatch: 2 });
  const [one, two] = await Promise.all([1, 1].map((targets) => explainer.explain(input, { targets })));
  t.is(one?.batchSize, 2);
  for (const { heatmaps } of [one, two] as { heatmaps: Tensor }[])
    t.true(maxDifference(heatmaps.toTypedArray(), expected.heatmaps.toTypedArray() as Float32Array) < 1e-5);
  await explainer.dispose();
  t.true(cam instanceof BaseCAM);
  await t.notThrowsAsync(cam.explain(input)); // It stays the caller's.
  const wrongly = (options: object) => () => new Explainer(options as never);
  t.throws(wrongly({ cam, model }), { code: 'ERR_INVALID_ARG_TYPE', message: /nothing beside a cam.*model/ });
  t.throws(wrongly({ cam, options: {} }), { code: 'ERR_INVALID_ARG_TYPE', message: /options/ });
  t.throws(wrongly({ cam: GradCAM }), { code: 'ERR_INVALID_ARG_TYPE', message: /new GradCAM\(\)/ });
});

test('LeGrad refuses eigenSmooth however it is called', async (t) => {
  await using transformer = await loadModel(fixturePath('outputs/tensor.pt'));
  const image = Tensor.from(noise(768), [1, 3, 16, 16]);
  const refused = { code: 'ERR_UNSUPPORTED', message: /LeGrad has no eigenSmooth/ };
  const how = { model: transformer, targetLayers: 'body' };
  const eigenSmooth = { eigenSmooth: true };
  await t.throwsAsync(createCam(how, { method: 'legrad' }).explain(image, eigenSmooth), refused);
  await t.throwsAsync(new Explainer({ ...how, method: 'legrad' }).explain(image, eigenSmooth), refused);
  await t.throwsAsync(
    compareMethods({ ...how, methods: ['gradcam', 'legrad'] }, image, eigenSmooth),
    refused,
  );
});

test('each explanation of a comparison is disposed of on its own', async (t) => {
  const found = await compareMethods(
    { model, targetLayers, methods: ['gradcam', 'layercam', 'eigencam'] },
    input,
  );
  for (const explanation of found.values()) {
    using each = explanation;
    t.notThrows(() => [each.heatmaps, each.outputs as Tensor].map((tensor) => tensor.toTypedArray()));
  }
});
