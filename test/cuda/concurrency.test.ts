import type { ExecutionContext } from 'ava';
import { ClassifierOutputSoftmaxTarget, GradCAM, loadModel, setThreads, Tensor, threads } from 'node-gradcam';
import { onGpu, photoTensor, values } from '../helpers/cuda.js';
import { liteModel, maxDifference, noise } from '../helpers/fixtures.js';
import { fixturePath } from '../helpers/root.js';

const classes = [281, 282, 285, 7, 100, 400, 700, 999];
const close = 1e-5;

function expectMaps(
  t: ExecutionContext,
  what: string,
  found: readonly { readonly target: number; readonly heatmaps: Tensor }[],
  expected: ReadonlyMap<number, Float32Array>,
): void {
  for (const { target, heatmaps } of found) {
    const difference = maxDifference(values(heatmaps), expected.get(target) ?? []);
    t.true(difference <= close, `${what}, class ${target}: ${difference}`);
  }
}

onGpu(
  'CUDA: four executors and eight callers give what one caller gets, from the first call on',
  async (t) => {
    const photo = await photoTensor();
    const before = threads();
    await using alone = await loadModel(liteModel, { device: 'cuda', dtype: 'float32' });
    const cam = new GradCAM({ model: alone, targetLayers: '_conv_head' });
    const expected = new Map<number, Float32Array>();
    for (const target of classes)
      expected.set(target, values((await cam.explain(photo, { targets: target })).heatmaps));
    setThreads({ executors: 4 });
    try {
      // New models: their plans, with BatchNorms folded on the GPU, are made by one call while others wait for them.
      for (let round = 0; round < 15; round++) {
        await using model = await loadModel(liteModel, { device: 'cuda', dtype: 'float32' });
        const shared = new GradCAM({ model, targetLayers: '_conv_head' });
        const found = await Promise.all(
          classes.map(async (target) => ({ target, ...(await shared.explain(photo, { targets: target })) })),
        );
        expectMaps(t, `round ${round}`, found, expected);
      }
    } finally {
      setThreads(before);
    }
  },
);

onGpu('CUDA: target functions of eight callers on four executors', async (t) => {
  const photo = await photoTensor();
  const before = threads();
  await using model = await loadModel(liteModel, { device: 'cuda', dtype: 'float32' });
  const cam = new GradCAM({ model, targetLayers: '_conv_head' });
  const expected = new Map<number, Float32Array>();
  for (const target of classes)
    expected.set(
      target,
      values((await cam.explain(photo, { targets: new ClassifierOutputSoftmaxTarget(target) })).heatmaps),
    );
  setThreads({ executors: 4 });
  try {
    for (let round = 0; round < 20; round++) {
      const found = await Promise.all(
        classes.map(async (target) => ({
          target,
          ...(await cam.explain(photo, { targets: (output: Tensor) => output.softmax().select(0, target) })),
        })),
      );
      expectMaps(t, `round ${round}`, found, expected);
    }
  } finally {
    setThreads(before);
  }
});

onGpu('CUDA: a target function reads values and goes on', async (t) => {
  await using model = await loadModel(liteModel, { device: 'cuda', dtype: 'float32' });
  const cam = new GradCAM({ model, targetLayers: '_conv_head' });
  const photo = await photoTensor();
  const chosen = await cam.explain(photo, {
    targets: (output: Tensor) => {
      t.regex(output.device, /^cuda/);
      const read = output.toTypedArray() as Float32Array;
      return output.select(0, read.indexOf(Math.max(...read))).mul(Tensor.from([1], []));
    },
  });
  const highest = await cam.explain(photo);
  t.true(maxDifference(values(chosen.heatmaps), values(highest.heatmaps)) <= close);
});

onGpu('CUDA: models with TF32 and without it take turns', async (t) => {
  const photo = await photoTensor();
  await using exact = await loadModel(liteModel, { device: 'cuda', dtype: 'float32' });
  await using fast = await loadModel(liteModel, {
    device: 'cuda',
    dtype: 'float32',
    tf32: true,
    cudnnBenchmark: true,
  });
  const [exactCam, fastCam] = [exact, fast].map(
    (model) => new GradCAM({ model, targetLayers: '_conv_head' }),
  );
  if (!exactCam || !fastCam) return t.fail();
  const expected = values((await exactCam.explain(photo, { targets: 281 })).heatmaps);
  const rounds = Array.from({ length: 16 }, async (_, index) => {
    const cam = index % 2 === 0 ? exactCam : fastCam;
    return maxDifference(values((await cam.explain(photo, { targets: 281 })).heatmaps), expected);
  });
  for (const [index, difference] of (await Promise.all(rounds)).entries())
    t.true(difference <= (index % 2 === 0 ? close : 1e-2), `${index}: ${difference}`);
});

onGpu('CUDA: after calls on the CPU in the same process', async (t) => {
  const photo = await photoTensor();
  await using onHost = await loadModel(liteModel);
  const first = await new GradCAM({ model: onHost, targetLayers: '_conv_head' }).explain(photo, {
    targets: 281,
  });
  await using onDevice = await loadModel(liteModel, { device: 'cuda', dtype: 'float32' });
  const second = await new GradCAM({ model: onDevice, targetLayers: '_conv_head' }).explain(photo, {
    targets: 281,
  });
  t.true(maxDifference(values(first.heatmaps), values(second.heatmaps)) <= 1e-4);
});

onGpu('CUDA: a TorchScript target has its weights where the output is, in half precision too', async (t) => {
  const { TorchScriptTarget } = await import('node-gradcam');
  const targets = await TorchScriptTarget.load(fixturePath('cuda/target.pt'));
  const photo = await photoTensor();
  const explain = async (how: Parameters<typeof loadModel>[1]) => {
    await using model = await loadModel(liteModel, how);
    return await new GradCAM({ model, targetLayers: '_conv_head' }).explain(photo, { targets });
  };
  const expected = await explain({});
  for (const [dtype, allowed] of [
    ['float32', 1e-4],
    ['float16', 1e-2],
  ] as const) {
    const found = await explain({ device: 'cuda', dtype });
    t.true(maxDifference(values(found.heatmaps), values(expected.heatmaps)) <= allowed, dtype);
  }
});

onGpu('CUDA: inputs of many sizes, the describing of plans and inspections among explains', async (t) => {
  await using model = await loadModel(liteModel, { device: 'cuda', dtype: 'float32' });
  const cam = new GradCAM({ model, targetLayers: '_blocks.4' });
  const shapes = [64, 96, 128, 160].map((size) => Tensor.from(noise(3 * size * size), [1, 3, size, size]));
  const expected = new Map<Tensor, Float32Array>();
  for (const input of shapes)
    expected.set(input, values((await cam.explain(input, { targets: 1 })).heatmaps));
  const work = shapes.flatMap((input) => [
    model.inspect(input),
    model.forward(input),
    ...[1, 2, 3].map(async () => {
      const found = values((await cam.explain(input, { targets: 1 })).heatmaps);
      t.true(maxDifference(found, expected.get(input) ?? []) <= close);
    }),
  ]);
  await Promise.all(work);
});
