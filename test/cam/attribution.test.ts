import test, { type ExecutionContext } from 'ava';
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
  type Model,
  Saliency,
  SmoothGradCAMPlusPlus,
  setThreads,
  Tensor,
} from 'node-gradcam';
import { familyPath, floatsOf, tensorOf } from '../helpers/family.js';
import { maxDifference, noise, readJson, type StoredArray } from '../helpers/fixtures.js';
import { closeToFloat64, largestOf, type Values, type Way, ways } from '../helpers/float64-result.js';
import { fixturePath } from '../helpers/root.js';
import { sharedModel } from '../helpers/shared-models.js';

// Methods of the family that explain by the input, or need more than a layer: values from Captum, pytorch-grad-cam,
// torch-cam or by hand, in double precision, see tools/fixtures/family.
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
  readonly referenceError: Readonly<Record<string, number>>;
}

// The models are so small that threads would only wait for each other.
setThreads({ intraOpThreads: 1 });

const { cases } = readJson<{ cases: readonly AttributionCase[] }>('family/golden.json');
const floats = (stored: unknown) => floatsOf(stored as StoredArray);
const tensorIn = (stored: unknown) => tensorOf(stored as StoredArray);
const ofMethod = (...methods: string[]) => cases.filter(({ method }) => methods.includes(method));
const values = (tensor: Tensor) => tensor.toTypedArray() as Float32Array;

/** Compares one expected value with ours. Gradients of the input are small: 1e-5 is of the largest. */
function close(
  t: ExecutionContext,
  golden: AttributionCase,
  key: string,
  actual: Values,
  dtype: Way['dtype'] = 'auto',
  scale?: number,
) {
  const stored = golden.expected[key] as StoredArray | readonly number[];
  const expected = 'file' in stored ? floats(stored) : stored;
  closeToFloat64(t, `${golden.name}, ${key}, ${dtype}`, actual, expected, {
    referenceError: golden.referenceError[key] ?? Number.NaN,
    dtype,
    ...(scale === undefined ? {} : { scale }),
  });
}
const largestExpected = (golden: AttributionCase, key: string) => largestOf(floats(golden.expected[key]));

for (const golden of ofMethod('Saliency', 'GuidedBackprop', 'IntegratedGradients')) {
  test(`${golden.name}: ${golden.description}`, async (t) => {
    for (const dtype of ['auto', 'float64'] as const) {
      const model = await sharedModel(familyPath(golden.model), dtype);
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
      const { attributions, maps } = await explainer.attribute(tensorIn(golden.input), {
        targets: golden.targets,
        onProgress: (done, total) => progress.push([done, total]),
      });
      const found = values(attributions).map((value) => (absolute ? Math.abs(value) : value));
      const key = golden.method === 'GuidedBackprop' ? 'gradients' : 'attributions';
      close(t, golden, key, found, dtype, largestExpected(golden, key));
      if (golden.method === 'IntegratedGradients') {
        const deltas = Array.from(maps, (map) => map.convergenceDelta ?? Number.NaN);
        close(t, golden, 'convergenceDelta', deltas, dtype);
        t.true(progress.every(([done = 0, total]) => done <= 40 && total === 40));
      }
    }
  });
}

for (const golden of ofMethod('GuidedGradCAM')) {
  test(`${golden.name}: ${golden.description}`, async (t) => {
    for (const { dtype, optimize } of ways) {
      const model = await sharedModel(familyPath(golden.model), dtype);
      const cam = new GradCAM({ model, targetLayers: golden.targetLayers as string[], optimize });
      const product = await guidedGradCam(cam, new GuidedBackprop({ model }), tensorIn(golden.input), {
        targets: golden.targets,
      });
      close(t, golden, 'product', product, dtype, largestExpected(golden, 'product'));
    }
  });
}

for (const golden of ofMethod('FullGrad', 'CAM', 'SmoothGradCAMPlusPlus')) {
  test(`${golden.name}: ${golden.description}`, async (t) => {
    for (const { dtype, optimize } of ways) {
      const model = await sharedModel(familyPath(golden.model), dtype);
      const targetLayers = golden.targetLayers as string[];
      const { linear, noise, augSmooth, eigenSmooth } = golden.options ?? {};
      const cam =
        golden.method === 'FullGrad'
          ? new FullGrad({ model, optimize })
          : golden.method === 'CAM'
            ? new CAM({ model, targetLayers, optimize, linear: linear as string })
            : new SmoothGradCAMPlusPlus({ model, targetLayers, optimize, noise: tensorIn(noise) });
      const { heatmaps } = await cam.explain(tensorIn(golden.input), {
        targets: golden.targets,
        augSmooth: Boolean(augSmooth),
        eigenSmooth: Boolean(eigenSmooth),
      });
      close(t, golden, 'heatmaps', heatmaps, dtype);
    }
  });
}

for (const golden of cases.filter(({ name }) => name === 'vit-legrad-final-score')) {
  test(`${golden.name}: ${golden.description}`, async (t) => {
    for (const { dtype, optimize } of ways) {
      const model = await sharedModel(familyPath(golden.model), dtype);
      const reshapeTransform = { kind: 'tokens', prefixTokens: 1 } as const;
      const cam = new LeGrad({ model, optimize, reshapeTransform });
      const { heatmaps } = await cam.explain(tensorIn(golden.input), { targets: golden.targets });
      close(t, golden, 'heatmaps', heatmaps, dtype);
    }
  });
}

test('CAM finds the linear layer, and says so where the model is of another kind', async (t) => {
  for (const golden of ofMethod('CAM')) {
    const model = await sharedModel(familyPath(golden.model));
    const targetLayers = golden.targetLayers as string[];
    const { heatmaps } = await new CAM({ model, targetLayers }).explain(tensorIn(golden.input), {
      targets: golden.targets,
    });
    close(t, golden, 'heatmaps', heatmaps);
    await t.throwsAsync(
      new CAM({ model, targetLayers: 'layer1' }).explain(tensorIn(golden.input), { targets: golden.targets }),
      { code: 'ERR_UNSUPPORTED', message: /average 'layer1' over space/ },
    );
  }
});

test('CAM is Grad-CAM where a linear layer classifies the mean over space, with eigenSmooth too', async (t) => {
  for (const golden of ofMethod('CAM')) {
    const model = await sharedModel(familyPath(golden.model));
    const targetLayers = golden.targetLayers as string[];
    for (const eigenSmooth of [false, true]) {
      const [cam, gradCam] = await Promise.all(
        [new CAM({ model, targetLayers }), new GradCAM({ model, targetLayers })].map(async (each) => {
          const result = await each.explain(tensorIn(golden.input), { targets: golden.targets, eigenSmooth });
          return result.heatmaps.toTypedArray() as Float32Array;
        }),
      );
      t.true(
        maxDifference(cam as Float32Array, gradCam as Float32Array) < 1e-5,
        `eigenSmooth ${eigenSmooth}`,
      );
    }
  }
});

test('augSmooth of LeGrad is the mean of the six maps, changed back', async (t) => {
  const [golden] = cases.filter(({ name }) => name === 'vit-legrad-final-score');
  const model = await sharedModel(familyPath(golden?.model ?? ''));
  const cam = new LeGrad({ model, reshapeTransform: { kind: 'tokens', prefixTokens: 1 } });
  const input = tensorIn(golden?.input);
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
    const model = await sharedModel(familyPath(golden.model));
    const { components, startConcepts, startExplanations } = golden.options ?? {};
    const factorization = new DeepFeatureFactorization({
      model,
      targetLayer: (golden.targetLayers as string[])[0] ?? '',
      computationOnConcepts: 'fc',
    });
    const found = await factorization.factorize(tensorIn(golden.input), {
      components: Number(components),
      start: { concepts: tensorIn(startConcepts), explanations: tensorIn(startExplanations) },
    });
    for (const key of ['concepts', 'explanations', 'conceptOutputs'] as const)
      close(t, golden, key, found[key] as Tensor);
    t.is(found.rounds, golden.expected.iterations as number);
    const drawn = await factorization.factorize(tensorIn(golden.input), { components: 2, seed: 5 });
    const again = await factorization.factorize(tensorIn(golden.input), { components: 2, seed: 5 });
    t.deepEqual(values(drawn.explanations), values(again.explanations));
  });
}

test('LeGrad opens fused attention, and tells where there is none', async (t) => {
  const fused = await sharedModel(familyPath('vit-fused.pt'));
  const input = Tensor.from(noise(3 * 24 * 24), [1, 3, 24, 24]);
  const { heatmaps } = await new LeGrad({ model: fused }).explain(input, { targets: 1 });
  t.true(values(heatmaps).some((value) => value > 0.99));
  const convolutional = await sharedModel(familyPath('resnet.pt'));
  await t.throwsAsync(new LeGrad({ model: convolutional }).explain(input), { code: 'ERR_UNSUPPORTED' });
});

// One walk back serves a target of every image: no image's gradient may reach another's map.
const ofBatches = {
  Saliency: ['resnet.pt', (model: Model) => new Saliency({ model })],
  GuidedBackprop: ['resnet.pt', (model: Model) => new GuidedBackprop({ model })],
  LeGrad: ['vit-fused.pt', (model: Model) => new LeGrad({ model })],
  FullGrad: ['resnet.pt', (model: Model) => new FullGrad({ model })],
} as const;
for (const [name, [file, create]] of Object.entries(ofBatches)) {
  test(`${name}: images with unequal numbers of targets have the maps that they have alone`, async (t) => {
    const method = create(await sharedModel(familyPath(file), 'float64'));
    const run = async (input: Tensor, targets: number[][]) => {
      if (method instanceof LeGrad || method instanceof FullGrad)
        return values((await method.explain(input, { targets })).heatmaps);
      return values((await method.attribute(input, { targets })).attributions);
    };
    const batch = Tensor.from(noise(3 * 3 * 24 * 24), [3, 3, 24, 24]);
    const targets = [[0, 1, 2], [1], [2, 0]];
    const together = await run(batch, targets);
    const alone: number[] = [];
    for (const [index, ofImage] of targets.entries())
      alone.push(...(await run(batch.narrow(index, 1), [ofImage])));
    t.true(maxDifference(together, alone) < 1e-6 * largestOf(alone));
  });
}

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
