import test, { type ExecutionContext } from 'ava';
import {
  Explainer,
  type Explanation,
  loadModel,
  type MethodName,
  type ModelOutput,
  methodNames,
  type OutputSelector,
  Tensor,
} from 'node-gradcam';
import { methods as registry } from '../../lib/cam/methods/registry.js';
import { maxDifference, noise } from '../helpers/fixtures.js';
import { fixturePath } from '../helpers/root.js';

// Whatever a model gives beside its scores, a caller of an Explainer gets what the method alone gives for its images, and it is
// the caller's own. The models are of tools/fixtures/networks/outputs.py.

interface Kind {
  /** What is explained. */
  readonly output?: OutputSelector;
  /** False where it cannot be told whose is what, so that the calls run alone. */
  readonly shares: boolean;
}

const kinds: Readonly<Record<string, Kind>> = {
  tensor: { shares: true },
  dictionary: { output: 'out', shares: true },
  tuple: { output: 1, shares: true },
  nested: { output: [1, 0], shares: true },
  dictionaries: { output: 0, shares: true },
  scalar: { output: 0, shares: true },
  anchors: { output: 0, shares: true },
  mean: { output: 0, shares: false },
  windows: { output: 0, shares: false },
  'second-axis': { output: 0, shares: false },
};

const images = [1, 2, 3].map((seed) => Tensor.from(noise(3 * 256, seed), [1, 3, 16, 16]));
const pair = Tensor.from(noise(2 * 3 * 256, 4), [2, 3, 16, 16]);
const tolerance = 2e-5;

function same(t: ExecutionContext, what: string, actual: ModelOutput, expected: ModelOutput): void {
  if (expected instanceof Tensor) {
    t.true(actual instanceof Tensor, what);
    const { shape, dtype } = actual as Tensor;
    t.deepEqual([shape, dtype], [expected.shape, expected.dtype], what);
    const numbers = ({ toTypedArray }: Tensor, of: Tensor) =>
      Float64Array.from(toTypedArray.call(of), Number);
    const [ours, theirs] = [numbers(actual as Tensor, actual as Tensor), numbers(expected, expected)];
    t.true(maxDifference(ours, theirs) < tolerance, `${what}: ${ours} instead of ${theirs}`);
  } else if (typeof expected === 'object' && expected !== null) {
    t.is(Array.isArray(actual), Array.isArray(expected), what);
    t.deepEqual(Object.keys(actual ?? {}), Object.keys(expected), what);
    for (const [key, value] of Object.entries(expected))
      same(t, `${what}.${key}`, (actual as Record<string, ModelOutput>)[key] ?? null, value);
  } else t.is(actual, expected, what);
}

function sameExplanation(
  t: ExecutionContext,
  what: string,
  actual: Explanation,
  expected: Explanation,
): void {
  same(t, `${what}: outputs`, actual.outputs, expected.outputs);
  same(t, `${what}: heatmaps`, actual.heatmaps, expected.heatmaps);
  t.deepEqual(
    actual.maps.map(({ score: _, ...rest }) => rest),
    expected.maps.map(({ score: _, ...rest }) => rest),
    what,
  );
  t.true(maxDifference(Float64Array.from(actual.scores), expected.scores) < tolerance, what);
  t.deepEqual(actual.layers, expected.layers, what);
}

/** All tensors of what a model gave. */
function tensorsOf(output: ModelOutput): Tensor[] {
  if (output instanceof Tensor) return [output];
  return typeof output === 'object' && output !== null ? Object.values(output).flatMap(tensorsOf) : [];
}

for (const [name, { output, shares }] of Object.entries(kinds)) {
  for (const method of methodNames) {
    test(`${name}, ${method}: one and several callers`, async (t) => {
      await using model = await loadModel(fixturePath(`outputs/${name}.pt`));
      const how = { model, targetLayers: 'body', ...(output === undefined ? {} : { output }) };
      const own = method === 'cam' ? { linear: 'head' } : {};
      const cam = new registry[method as MethodName]({ ...how, ...own });
      const alone = await Promise.all(images.map((image) => cam.explain(image)));
      const explainer = new Explainer({ ...how, method, options: own, maxBatch: 3 });
      const [first] = alone as [Explanation];
      sameExplanation(t, 'one caller', await explainer.explain(images[0] as Tensor), first);
      const fresh = new Explainer({ ...how, method, options: own, maxBatch: 3 });
      for (const round of [1, 2, 3]) {
        const together = await Promise.all(images.map((image) => fresh.explain(image)));
        for (const [index, explanation] of together.entries()) {
          sameExplanation(t, `round ${round}, caller ${index}`, explanation, alone[index] as Explanation);
          explanation.dispose(); // The next caller's is its own.
        }
        if (round > 1)
          t.deepEqual(
            together.map(({ batchSize }) => batchSize),
            Array(3).fill(shares ? 3 : 1),
          );
      }
      t.is(fresh.stats.failed, 0);
    });
  }

  test(`${name}: callers with one image and with several`, async (t) => {
    await using model = await loadModel(fixturePath(`outputs/${name}.pt`));
    const how = { model, targetLayers: 'body', ...(output === undefined ? {} : { output }) };
    const [image] = images as [Tensor];
    const cam = new registry.gradcam(how);
    const alone = [await cam.explain(pair), await cam.explain(image)];
    const explainer = new Explainer({ ...how, maxBatch: 3 });
    for (const round of [1, 2, 3]) {
      const together = await Promise.all([pair, image].map((input) => explainer.explain(input)));
      for (const [index, explanation] of together.entries())
        sameExplanation(t, `round ${round}, caller ${index}`, explanation, alone[index] as Explanation);
    }
  });
}

test('one caller may dispose of its outputs, and the others keep theirs', async (t) => {
  await using model = await loadModel(fixturePath('outputs/anchors.pt'));
  const explainer = new Explainer({ model, targetLayers: 'body', output: 0, maxBatch: 3 });
  await Promise.all(images.map((image) => explainer.explain(image)));
  const [one, other] = await Promise.all(images.map((image) => explainer.explain(image)));
  t.is(one?.batchSize, 3);
  one?.dispose();
  for (const tensor of tensorsOf(one?.outputs ?? null))
    t.throws(() => tensor.toTypedArray(), { code: 'ERR_DISPOSED' });
  for (const tensor of tensorsOf(other?.outputs ?? null)) t.notThrows(() => tensor.toTypedArray());
});

test('a wrong target of one caller does not keep the others from sharing batches', async (t) => {
  await using model = await loadModel(fixturePath('outputs/tuple.pt'));
  const explainer = new Explainer({ model, targetLayers: 'body', output: 1, maxBatch: 3 });
  await Promise.all(images.map((image) => explainer.explain(image)));
  const outcomes = await Promise.allSettled(
    images.map((image, index) => explainer.explain(image, { targets: index === 1 ? 99 : 0 })),
  );
  t.deepEqual(
    outcomes.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  );
  const together = await Promise.all(images.map((image) => explainer.explain(image)));
  t.deepEqual(
    together.map(({ batchSize }) => batchSize),
    [3, 3, 3],
  );
});
