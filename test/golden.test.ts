import test from 'ava';
import { GradCAM, loadModel, type ModelOutput, type OutputSelector, Tensor } from 'node-gradcam';
import {
  fixturePath,
  maxDifference,
  readArray,
  readJson,
  readTensor,
  type StoredArray,
} from './helpers/fixtures.js';

// Expected values come from pytorch-grad-cam itself (or, where it cannot run, from a derivation by hand), see
// tools/make_fixtures.py.
interface GoldenCase {
  readonly name: string;
  readonly description: string;
  readonly model: string;
  readonly input: StoredArray;
  readonly targetLayers: readonly string[];
  readonly call?: number | 'last' | 'all';
  readonly output?: OutputSelector;
  readonly targets: number[][] | null;
  readonly upsample?: boolean;
  readonly expected: {
    readonly heatmaps: StoredArray;
    readonly scores?: readonly number[];
    readonly outputs?: StoredArray;
  };
}

const { cases } = readJson<{ cases: readonly GoldenCase[] }>('golden.json');
const tolerance = 1e-4;

function selected(outputs: ModelOutput, selector: OutputSelector | undefined): ModelOutput {
  const steps = selector === undefined ? [] : Array.isArray(selector) ? selector : [selector];
  return steps.reduce<ModelOutput>(
    (value, step) => (value as Record<string, ModelOutput>)[step] ?? null,
    outputs,
  );
}

function newCam(
  model: Awaited<ReturnType<typeof loadModel>>,
  golden: GoldenCase,
  optimize?: boolean,
): GradCAM {
  const { targetLayers, call, output } = golden;
  return new GradCAM({
    model,
    targetLayers: targetLayers.map((path) => (call === undefined ? path : { path, call })),
    ...(output === undefined ? {} : { output }),
    ...(optimize === undefined ? {} : { optimize }),
  });
}

for (const [golden, optimize] of cases.flatMap((golden) => [
  [golden, true] as const,
  [golden, false] as const,
])) {
  const path = optimize ? '' : ', not optimized';
  test(`equals pytorch-grad-cam: ${golden.name} (${golden.description})${path}`, async (t) => {
    await using model = await loadModel(fixturePath(golden.model));
    const result = await newCam(model, golden, optimize).explain(readTensor(golden.input), {
      ...(golden.targets === null ? {} : { targets: golden.targets }),
      upsample: golden.upsample ?? true,
    });
    const { heatmaps, scores, outputs } = golden.expected;
    t.deepEqual([...result.heatmaps.shape], [...heatmaps.shape]);
    t.is(result.heatmaps.dtype, 'float32');
    const difference = maxDifference(result.heatmaps.toTypedArray(), readArray(heatmaps));
    t.true(difference <= tolerance, `largest difference ${difference}`);
    if (scores) {
      const scoreDifference = maxDifference(Float64Array.from(result.scores), scores);
      t.true(scoreDifference <= tolerance, `largest difference of the scores ${scoreDifference}`);
    }
    if (outputs) {
      const output = selected(result.outputs, golden.output);
      t.true(output instanceof Tensor);
      t.true(maxDifference((output as Tensor).toTypedArray(), readArray(outputs)) <= tolerance);
    }
  });
}

test('a batch equals its images one by one', async (t) => {
  const batches = cases.filter(({ input }) => (input.shape[0] ?? 1) > 1);
  t.true(batches.length > 0);
  for (const golden of batches) {
    await using model = await loadModel(fixturePath(golden.model));
    const cam = newCam(model, golden);
    const upsample = golden.upsample ?? true;
    const batch = readArray(golden.input);
    const [count = 0, ...rest] = golden.input.shape;
    const size = batch.length / count;
    const singles: number[] = [];
    for (let image = 0; image < count; image++) {
      const input = Tensor.from(batch.slice(image * size, (image + 1) * size), [1, ...rest]);
      const ofImage = golden.targets && (golden.targets[image] ?? golden.targets[0]);
      const result = await cam.explain(input, { ...(ofImage ? { targets: [ofImage] } : {}), upsample });
      singles.push(...Array.from(result.heatmaps.toTypedArray() as Float32Array));
    }
    const together = await cam.explain(readTensor(golden.input), {
      ...(golden.targets === null ? {} : { targets: golden.targets }),
      upsample,
    });
    const difference = maxDifference(together.heatmaps.toTypedArray(), singles);
    t.true(difference <= 1e-5, `${golden.name}: largest difference ${difference}`);
  }
});
