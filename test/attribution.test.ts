import test from 'ava';
import {
  CAM,
  DeepFeatureFactorization,
  FullGrad,
  GradCAM,
  GuidedBackprop,
  guidedGradCam,
  IntegratedGradients,
  LeGrad,
  loadModel,
  Saliency,
  SmoothGradCAMPlusPlus,
  Tensor,
} from 'node-gradcam';
import {
  fixturePath,
  maxDifference,
  noise,
  readArray,
  readJson,
  type StoredArray,
} from './helpers/fixtures.js';

// Methods of the family that explain by the input, or need more than a layer: values from Captum, pytorch-grad-cam,
// torch-cam or by hand, see tools/make_family_fixtures.py.
interface AttributionCase {
  readonly name: string;
  readonly description: string;
  readonly method: string;
  readonly model: string;
  readonly input: StoredArray;
  readonly targetLayers?: readonly string[];
  readonly targets: number[][];
  readonly options?: Readonly<Record<string, unknown>>;
  readonly expected: Readonly<Record<string, unknown>>;
  readonly tolerance: number;
}

const { cases } = readJson<{ cases: readonly AttributionCase[] }>('family/golden.json');
const inFamily = (stored: StoredArray) => ({ ...stored, file: `family/${stored.file}` });
const floats = (stored: unknown) => Float32Array.from(readArray(inFamily(stored as StoredArray)));
const tensorOf = (stored: unknown) => Tensor.from(floats(stored), (stored as StoredArray).shape);
const ofMethod = (...methods: string[]) =>
  cases.filter(({ method, options }) => methods.includes(method) && !options?.eigenSmooth);
const values = (tensor: Tensor) => tensor.toTypedArray() as Float32Array;

for (const golden of ofMethod('Saliency', 'GuidedBackprop', 'IntegratedGradients')) {
  test(`${golden.name}: ${golden.description}`, async (t) => {
    await using model = await loadModel(fixturePath(`family/${golden.model}`));
    const { steps, method, baseline, absolute } = golden.options ?? {};
    const explainer =
      golden.method === 'Saliency'
        ? new Saliency({ model })
        : golden.method === 'GuidedBackprop'
          ? new GuidedBackprop({ model })
          : new IntegratedGradients({
              model,
              steps: Number(steps),
              method: method as 'gausslegendre',
              baseline: Number(baseline),
              batchSize: 7,
            });
    const progress: number[][] = [];
    const { attributions, maps } = await explainer.attribute(tensorOf(golden.input), {
      targets: golden.targets,
      onProgress: (done, total) => progress.push([done, total]),
    });
    const found = values(attributions).map((value) => (absolute ? Math.abs(value) : value));
    const expected = floats(golden.expected.attributions ?? golden.expected.gradients);
    t.true(maxDifference(found, expected) <= golden.tolerance);
    t.true(found.some((value) => Math.abs(value) > 100 * golden.tolerance));
    if (golden.method === 'IntegratedGradients') {
      const deltas = golden.expected.convergenceDelta as number[];
      t.true(
        maxDifference(
          Float64Array.from(maps, (map) => map.convergenceDelta),
          deltas,
        ) <= 1e-4,
      );
      t.true(progress.every(([done = 0, total]) => done <= 40 && total === 40));
    }
  });
}

for (const golden of ofMethod('GuidedGradCAM')) {
  test(`${golden.name}: ${golden.description}`, async (t) => {
    await using model = await loadModel(fixturePath(`family/${golden.model}`));
    const cam = new GradCAM({ model, targetLayers: golden.targetLayers as string[] });
    const product = await guidedGradCam(cam, new GuidedBackprop({ model }), tensorOf(golden.input), {
      targets: golden.targets,
    });
    t.true(maxDifference(values(product), floats(golden.expected.product)) <= golden.tolerance);
  });
}

for (const golden of ofMethod('FullGrad', 'CAM', 'SmoothGradCAMPlusPlus')) {
  test(`${golden.name}: ${golden.description}`, async (t) => {
    await using model = await loadModel(fixturePath(`family/${golden.model}`));
    const targetLayers = golden.targetLayers as string[];
    const cam =
      golden.method === 'FullGrad'
        ? new FullGrad({ model })
        : golden.method === 'CAM'
          ? new CAM({ model, targetLayers, linear: golden.options?.linear as string })
          : new SmoothGradCAMPlusPlus({ model, targetLayers, noise: tensorOf(golden.options?.noise) });
    const { heatmaps } = await cam.explain(tensorOf(golden.input), {
      targets: golden.targets,
      augSmooth: Boolean(golden.options?.augSmooth),
      eigenSmooth: Boolean(golden.options?.eigenSmooth),
    });
    const difference = maxDifference(values(heatmaps), floats(golden.expected.heatmaps));
    t.true(difference <= golden.tolerance, `largest difference ${difference}`);
  });
}

for (const golden of cases.filter(({ name }) => name === 'vit-legrad-final-score')) {
  test(`${golden.name}: ${golden.description}`, async (t) => {
    await using model = await loadModel(fixturePath(`family/${golden.model}`));
    const cam = new LeGrad({ model, reshapeTransform: { kind: 'tokens', prefixTokens: 1 } });
    const { heatmaps } = await cam.explain(tensorOf(golden.input), { targets: golden.targets });
    const difference = maxDifference(values(heatmaps), floats(golden.expected.heatmaps));
    t.true(difference <= golden.tolerance, `largest difference ${difference}`);
  });
}

test('CAM finds the linear layer, and says so where the model is of another kind', async (t) => {
  for (const golden of ofMethod('CAM')) {
    await using model = await loadModel(fixturePath(`family/${golden.model}`));
    const targetLayers = golden.targetLayers as string[];
    const { heatmaps } = await new CAM({ model, targetLayers }).explain(tensorOf(golden.input), {
      targets: golden.targets,
    });
    t.true(maxDifference(values(heatmaps), floats(golden.expected.heatmaps)) <= golden.tolerance);
    await t.throwsAsync(
      new CAM({ model, targetLayers: 'layer1' }).explain(tensorOf(golden.input), { targets: golden.targets }),
      { code: 'ERR_UNSUPPORTED', message: /average 'layer1' over space/ },
    );
  }
});

test('augSmooth of LeGrad is the mean of the six maps, changed back', async (t) => {
  const [golden] = cases.filter(({ name }) => name === 'vit-legrad-final-score');
  await using model = await loadModel(fixturePath(`family/${golden?.model}`));
  const cam = new LeGrad({ model, reshapeTransform: { kind: 'tokens', prefixTokens: 1 } });
  const input = tensorOf(golden?.input);
  const width = input.shape[3] as number;
  const mirrored = (data: Float32Array) =>
    data.map((_, index) => data[index - (index % width) + width - 1 - (index % width)] as number);
  const maps: Float32Array[] = [];
  for (const multiply of [0.9, 1, 1.1]) {
    for (const flip of [false, true]) {
      const scaled = values(input).map((value) => value * multiply);
      const changed = Tensor.from(flip ? mirrored(scaled) : scaled, input.shape);
      const map = values((await cam.explain(changed, { targets: 1 })).heatmaps);
      maps.push(flip ? mirrored(map) : map);
    }
  }
  const expected = (maps[0] as Float32Array).map(
    (_, index) => maps.reduce((sum, map) => sum + (map[index] as number), 0) / 6,
  );
  const { heatmaps } = await cam.explain(input, { targets: 1, augSmooth: true });
  t.true(maxDifference(values(heatmaps), expected) < 1e-5);
});

for (const golden of ofMethod('DeepFeatureFactorization')) {
  test(`${golden.name}: ${golden.description}`, async (t) => {
    await using model = await loadModel(fixturePath(`family/${golden.model}`));
    const { components, startConcepts, startExplanations } = golden.options ?? {};
    const factorization = new DeepFeatureFactorization({
      model,
      targetLayer: (golden.targetLayers as string[])[0] ?? '',
      computationOnConcepts: 'fc',
    });
    const found = await factorization.factorize(tensorOf(golden.input), {
      components: Number(components),
      start: { concepts: tensorOf(startConcepts), explanations: tensorOf(startExplanations) },
    });
    const { expected, tolerance } = golden;
    t.true(maxDifference(values(found.concepts), floats(expected.concepts)) <= tolerance);
    t.true(maxDifference(values(found.explanations), floats(expected.explanations)) <= tolerance);
    t.true(
      maxDifference(values(found.conceptOutputs as Tensor), floats(expected.conceptOutputs)) <= tolerance,
    );
    t.is(found.rounds, expected.iterations as number);
    const drawn = await factorization.factorize(tensorOf(golden.input), { components: 2, seed: 5 });
    const again = await factorization.factorize(tensorOf(golden.input), { components: 2, seed: 5 });
    t.deepEqual(values(drawn.explanations), values(again.explanations));
  });
}

test('LeGrad opens fused attention, and tells where there is none', async (t) => {
  await using fused = await loadModel(fixturePath('family/vit-fused.pt'));
  const input = Tensor.from(noise(3 * 24 * 24), [1, 3, 24, 24]);
  const { heatmaps } = await new LeGrad({ model: fused }).explain(input, { targets: 1 });
  t.true(values(heatmaps).some((value) => value > 0.99));
  await using convolutional = await loadModel(fixturePath('family/resnet.pt'));
  await t.throwsAsync(new LeGrad({ model: convolutional }).explain(input), { code: 'ERR_UNSUPPORTED' });
});

test('a frozen file is explained by the names of its values', async (t) => {
  await using model = await loadModel(fixturePath('frozen.pt'));
  t.true(model.frozen);
  const input = Tensor.from(new Float32Array(3 * 24 * 32).fill(0.5), [1, 3, 24, 32]);
  const { layers, suggested } = await model.inspect(input);
  t.true(layers.length > 3);
  const spatial = layers.filter(({ outputShapes }) => outputShapes[0]?.length === 4);
  t.true(spatial.length > 0);
  const path = suggested?.path ?? spatial.at(-1)?.path ?? '';
  const { heatmaps } = await new GradCAM({ model, targetLayers: path }).explain(input, { targets: 1 });
  t.deepEqual(heatmaps.shape, [1, 24, 32]);
});

test('options of attributions are checked', async (t) => {
  await using model = await loadModel(fixturePath('frozen.pt'));
  t.throws(() => new IntegratedGradients({ model, steps: 0 }), { code: 'ERR_OUT_OF_RANGE' });
  t.throws(() => new IntegratedGradients({ model, method: 'simpson' as 'gausslegendre' }), {
    code: 'ERR_INVALID_ARG_TYPE',
  });
  t.throws(() => new Saliency({ model, targetLayers: 'x' } as object as { model: typeof model }), {
    code: 'ERR_UNKNOWN_OPTION',
  });
  t.throws(() => new SmoothGradCAMPlusPlus({ model, std: -1 }), { code: 'ERR_OUT_OF_RANGE' });
  await t.throwsAsync(new LeGrad({ model }).explain({ data: [1], shape: [1] }, { eigenSmooth: true }), {
    code: 'ERR_UNSUPPORTED',
  });
});
