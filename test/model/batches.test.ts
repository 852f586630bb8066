import test from 'ava';
import {
  AblationCAM,
  deletionAuc,
  EigenCAM,
  Explainer,
  type Explanation,
  GradCAM,
  type GradCamError,
  IntegratedGradients,
  insertionAuc,
  loadModel,
  Saliency,
  ScoreCAM,
  Tensor,
} from 'node-gradcam';
import { maxDifference, readJson } from '../helpers/fixtures.js';
import { fixturePath } from '../helpers/root.js';
import { type StoredValues, tensorOf } from '../helpers/stored-values.js';

// Networks that do not take a batch as others do: one image only, or images that change each other's results, or inputs whose
// first axis is not the images. Values by plain PyTorch in double precision, one copy of an image in each run:
// tools/fixtures/networks/batches.py.

interface BatchCase {
  readonly name: string;
  readonly file: string;
  readonly layer: string;
  readonly inputs: readonly StoredValues[];
  readonly heatmaps: StoredValues;
  readonly classes: readonly number[];
  readonly steps: number;
  readonly pixelsPerStep: number;
  readonly images: readonly {
    readonly gradCam: readonly number[];
    readonly ablationCam: readonly number[];
    readonly scoreCam: readonly number[];
    readonly integratedGradients: readonly number[];
    readonly deletion: number;
    readonly insertion: number;
    readonly score: number;
  }[];
}

const { cases } = readJson<{ cases: readonly BatchCase[] }>('batches/golden.json');
const pathOf = (file: string) => fixturePath(`batches/${file}.pt`);
const caseOf = (name: string) => cases.find((each) => each.name === name) as BatchCase;
const inputsOf = ({ inputs }: BatchCase) => inputs.map(tensorOf);
/** Of a tensor of several images those from `start` on. */
const part = ({ shape, values }: StoredValues, start: number, length = 1): StoredValues => {
  const step = values.length / (shape[0] ?? 1);
  return { shape: [length, ...shape.slice(1)], values: values.slice(start * step, (start + length) * step) };
};
const repeated = (values: StoredValues, count: number): StoredValues => ({
  shape: [count, ...values.shape.slice(1)],
  values: Array.from({ length: count }, () => values.values).flat(),
});
const codes = ({ warnings }: { readonly warnings: readonly { readonly code: string }[] }) =>
  warnings.map(({ code }) => code);
const failureOf = async (work: Promise<unknown>) =>
  (await work.then(
    () => null,
    (error) => error,
  )) as GradCamError | null;

const tolerance = 2e-5;
const withBatches = cases.filter(({ name }) => name !== 'several callers');

for (const golden of withBatches) {
  const { name, layer, images, classes, steps, pixelsPerStep } = golden;
  const targets = classes.map((category) => [category]);
  const all = (key: 'ablationCam' | 'scoreCam' | 'integratedGradients') =>
    images.flatMap((each) => each[key]);

  for (const optimize of [true, false]) {
    test(`${name}: AblationCAM and ScoreCAM, optimize ${optimize}`, async (t) => {
      await using model = await loadModel(pathOf(golden.file));
      for (const batchSize of [undefined, 1, 3]) {
        const options = { model, targetLayers: layer, optimize, ...(batchSize ? { batchSize } : {}) };
        const ablation = await new AblationCAM(options).explain(inputsOf(golden), {
          targets,
          upsample: false,
        });
        t.true(maxDifference(ablation.heatmaps.toTypedArray(), all('ablationCam')) < tolerance);
        const score = await new ScoreCAM(options).explain(inputsOf(golden), { targets, upsample: false });
        t.true(maxDifference(score.heatmaps.toTypedArray(), all('scoreCam')) < tolerance);
      }
      t.is(model.stats().jobs.failed, 0);
    });
  }

  test(`${name}: IntegratedGradients`, async (t) => {
    await using model = await loadModel(pathOf(golden.file));
    for (const batchSize of [16, 1, 3]) {
      const method = new IntegratedGradients({ model, steps, batchSize });
      const { attributions, scores } = await method.attribute(inputsOf(golden), { targets });
      t.true(maxDifference(attributions.toTypedArray(), all('integratedGradients')) < tolerance);
      t.true(maxDifference(Float64Array.from(scores), images.map(({ score }) => score)) < tolerance); // biome-ignore format: one line
    }
  });

  test(`${name}: deletion and insertion`, async (t) => {
    await using model = await loadModel(pathOf(golden.file));
    const options = { targets, pixelsPerStep };
    const heatmaps = tensorOf(golden.heatmaps);
    const areas = [
      ...(await deletionAuc(model, inputsOf(golden), heatmaps, options)),
      ...(await insertionAuc(model, inputsOf(golden), heatmaps, options)),
    ];
    const expected = [...images.map(({ deletion }) => deletion), ...images.map(({ insertion }) => insertion)];
    t.true(maxDifference(Float64Array.from(areas), expected) < tolerance);
  });
}

for (const name of ['one-image', 'one-row']) {
  test(`${name}: the model learns that it takes one image, and says so`, async (t) => {
    const golden = caseOf(name);
    await using model = await loadModel(pathOf(golden.file));
    t.deepEqual(model.warnings, []);
    await new ScoreCAM({ model, targetLayers: golden.layer }).explain(inputsOf(golden), { targets: 1 });
    t.deepEqual(codes(model), ['one-image']);
    t.true(Object.isFrozen(model.warnings));
    t.is(model.warnings[0]?.modelMethod, 'forward');
  });

  test(`${name}: a batch of the caller's own is refused with what to do`, async (t) => {
    const golden = caseOf(name);
    const two = tensorOf(repeated(golden.inputs[0] as StoredValues, 2));
    await using model = await loadModel(pathOf(golden.file));
    const cam = new GradCAM({ model, targetLayers: golden.layer });
    const heatmaps = tensorOf(repeated(golden.heatmaps, 2));
    // One fails on two images, the other joins them to one answer.
    const [code, message] =
      name === 'one-image'
        ? (['ERR_INPUT_SHAPE', /takes one image at a time, and 2 were given\. .*Explainer/] as const)
        : (['ERR_OUTPUT_SHAPE', /1 rows\. .* give one image in each call/] as const);
    for (const work of [
      () => cam.explain(two, { targets: 1 }),
      () => new Saliency({ model }).attribute(two, { targets: 1 }),
      () => deletionAuc(model, two, heatmaps, { targets: 1 }),
      () => cam.explain(two, { targets: 1 }),
    ]) {
      const failure = await failureOf(work());
      t.is(failure?.code, code);
      t.regex(failure?.message ?? '', message);
    }
    t.deepEqual(codes(model), ['one-image']);
    // What needs no score of an image's own takes those that are joined: a bag of images is one.
    const activations = new EigenCAM({ model, targetLayers: golden.layer }).explain(two);
    if (name === 'one-row') t.is((await activations).maps.length, 2);
    else await t.throwsAsync(activations, { code: 'ERR_INPUT_SHAPE' });
  });

  test(`${name}: an Explainer finds it out by one batch`, async (t) => {
    const golden = caseOf(name);
    await using model = await loadModel(pathOf(golden.file));
    const explainer = new Explainer({ model, targetLayers: golden.layer });
    const input = tensorOf(golden.inputs[0] as StoredValues);
    const ofCaller = async () => {
      const results: Explanation[] = [];
      for (let call = 0; call < 25; call++)
        results.push(await explainer.explain(input, { targets: golden.classes[0] ?? 0, upsample: false }));
      return results;
    };
    const results = (await Promise.all(Array.from({ length: 8 }, ofCaller))).flat();
    for (const { heatmaps, batchSize } of results) {
      t.true(maxDifference(heatmaps.toTypedArray(), golden.images[0]?.gradCam ?? []) < tolerance);
      t.is(batchSize, 1);
    }
    const { jobs } = model.stats();
    t.is(jobs.done, 200);
    // As many as may run at the same time.
    t.true(jobs.failed >= 1 && jobs.failed <= 3, `${jobs.failed} failed`);
    t.is(explainer.stats.failed, 0);
  });
}

test('a batch whose size is part of the trace is not one for methods that need others', async (t) => {
  await using model = await loadModel(pathOf('two-images'));
  const input = tensorOf(repeated(caseOf('one-image').inputs[0] as StoredValues, 2));
  const explanation = await new GradCAM({ model, targetLayers: 'body' }).explain(input, { targets: 1 });
  t.deepEqual([...explanation.heatmaps.shape], [2, 16, 16]);
  const failure = await failureOf(
    new ScoreCAM({ model, targetLayers: 'body' }).explain(input, { targets: 1 }),
  );
  t.is(failure?.code, 'ERR_INPUT_SHAPE');
  t.regex(failure?.message ?? '', /ran on the 2 images that were given/);
  t.deepEqual(codes(model), []);
});

test('what fails for one image is that image’s own failure, and nothing is learned of it', async (t) => {
  await using model = await loadModel(pathOf('refuses-dark'));
  const light = Tensor.from(new Float32Array(3 * 256).fill(0.5), [1, 3, 16, 16]);
  const dark = Tensor.from(new Float32Array(3 * 256).fill(0.1), [1, 3, 16, 16]);
  // Deletion ends at a black image.
  const heatmaps = tensorOf(caseOf('one-image').heatmaps);
  const ofCurve = await failureOf(deletionAuc(model, light, heatmaps, { targets: 1 }));
  t.is(ofCurve?.code, 'ERR_FORWARD');
  t.regex(ofCurve?.message ?? '', /too dark/);
  const both = Tensor.from(
    Float32Array.from([...(light.toTypedArray() as Float32Array), ...(dark.toTypedArray() as Float32Array)]),
    [2, 3, 16, 16],
  );
  const ofBatch = await failureOf(new GradCAM({ model, targetLayers: 'body' }).explain(both, { targets: 1 }));
  t.is(ofBatch?.code, 'ERR_FORWARD');
  const explainer = new Explainer({ model, targetLayers: 'body' });
  const outcomes = await Promise.allSettled(
    [light, dark, light, light].map((image) => explainer.explain(image, { targets: 1 })),
  );
  t.deepEqual(
    outcomes.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
  );
  t.deepEqual(codes(model), []);
  const again = await Promise.all([light, light].map((image) => explainer.explain(image, { targets: 1 })));
  t.is(again[0]?.batchSize, 2);
});

test('images of several callers never mix in a model that takes a batch’s statistics', async (t) => {
  const golden = caseOf('several callers');
  await using model = await loadModel(pathOf(golden.file));
  t.deepEqual(codes(model), ['mixes-images']);
  const explainer = new Explainer({ model, targetLayers: golden.layer });
  const images = [0, 1].map((index) => tensorOf(part(golden.inputs[0] as StoredValues, index)));
  const calls = Array.from({ length: 10 }, (_, call) => call % 2);
  const results = await Promise.all(
    calls.map((index) => explainer.explain(images[index] as Tensor, { targets: 1, upsample: false })),
  );
  for (const [call, { heatmaps, scores, batchSize }] of results.entries()) {
    const expected = golden.images[calls[call] ?? 0];
    t.true(maxDifference(heatmaps.toTypedArray(), expected?.gradCam ?? []) < tolerance);
    t.true(Math.abs((scores[0] ?? 0) - (expected?.score ?? 0)) < tolerance);
    t.is(batchSize, 1);
  }
  t.is(model.stats().jobs.failed, 0);
  // Together they are something else.
  const together = await new GradCAM({ model, targetLayers: golden.layer }).explain(
    tensorOf(golden.inputs[0] as StoredValues),
    { targets: 1, upsample: false },
  );
  t.true(Math.abs((together.scores[0] ?? 0) - (golden.images[0]?.score ?? 0)) > 1e-3);
});

test('training mode in the graph is a warning', async (t) => {
  await using trains = await loadModel(fixturePath('model-kinds/trains.pt'));
  t.deepEqual(codes(trains), ['training-mode', 'mixes-images']);
  t.regex(trains.warnings[0]?.message ?? '', /batch_norm.*model\.eval\(\)/);
  await using drops = await loadModel(pathOf('drops'));
  t.deepEqual(codes(drops), ['training-mode']);
  t.regex(drops.warnings[0]?.message ?? '', /1 dropout/);
  await drops.dispose();
  t.deepEqual(drops.warnings, []);
});

test('prompts of several callers never mix', async (t) => {
  const { layer, file } = caseOf('prompts-3');
  for (const name of ['prompts-3', 'prompts-1', 'weighted']) {
    const golden = caseOf(name);
    await using model = await loadModel(pathOf(name === 'weighted' ? name : file));
    const explainer = new Explainer({ model, targetLayers: layer });
    const ofImages = name === 'weighted' ? [0, 1] : [0];
    const explain = (image: number) =>
      explainer.explain(
        golden.inputs.map((each) => tensorOf(name === 'weighted' ? part(each, image) : each)),
        { targets: golden.classes[image] ?? 0, upsample: false },
      );
    for (let round = 0; round < 2; round++) {
      const asked = Array.from({ length: 6 }, (_, call) => call % ofImages.length);
      const results = await Promise.all(asked.map(explain));
      for (const [call, { heatmaps, scores }] of results.entries()) {
        const expected = golden.images[asked[call] ?? 0];
        t.true(maxDifference(heatmaps.toTypedArray(), expected?.gradCam ?? []) < tolerance);
        t.true(Math.abs((scores[0] ?? 0) - (expected?.score ?? 0)) < tolerance);
      }
      // What belongs to the images may share a batch once that is known.
      if (round === 1) t.is(results[0]?.batchSize, name === 'weighted' ? 6 : 1);
    }
  }
});
