import test from 'ava';
import { Explainer, GradCAM, loadModel, type ModelOutput, Tensor } from 'node-gradcam';
import { readJson } from '../helpers/fixtures.js';
import { closeToFloat64, ways } from '../helpers/float64-result.js';
import { fixturePath } from '../helpers/root.js';
import { sharedModel } from '../helpers/shared-models.js';

// Programs of torch.export.save, of all kinds that people export. Values are of the eager model in double precision, heatmaps
// pytorch-grad-cam's: tools/fixtures/networks/exported.py.

interface Stored {
  readonly shape: readonly number[];
  readonly type: 'float32' | 'int64' | 'bool';
  readonly values: readonly number[];
}
type StoredTree =
  | Stored
  | number
  | string
  | boolean
  | null
  | readonly StoredTree[]
  | { readonly [key: string]: StoredTree };

interface ExportedCase {
  readonly name: string;
  readonly file: string;
  readonly layer?: string;
  readonly call?: number;
  readonly output?: string | number | readonly (string | number)[];
  readonly reshapeTransform?: 'tokens';
  readonly targets?: readonly number[];
  readonly inputs: readonly StoredTree[];
  readonly keywords?: Readonly<Record<string, StoredTree>>;
  readonly expected: { readonly output: StoredTree; readonly heatmap?: Stored };
  readonly referenceError: { readonly output: number; readonly heatmap?: number };
}

const { cases } = readJson<{ cases: readonly ExportedCase[] }>('exported/exported.json');

const isStored = (value: StoredTree): value is Stored =>
  typeof value === 'object' && value !== null && 'shape' in value && 'values' in value;

function tensorOf({ shape, type, values }: Stored): Tensor {
  if (type === 'int64') return Tensor.from(BigInt64Array.from(values, BigInt), shape);
  return Tensor.from(Float32Array.from(values), shape);
}

/** All tensors, in their order, whatever they lie in. Numbers and words are constants of the program. */
function tensorsIn(value: StoredTree): Tensor[] {
  if (isStored(value)) return [tensorOf(value)];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(tensorsIn) : [];
}

/** What is not read. */
const refused = new Map([['loops', /the higher-order operator 'while_loop'/]]);

for (const golden of cases) {
  const message = refused.get(golden.name);
  if (message) {
    test(`EXPECTED FAILURE - ${golden.name}`, async (t) => {
      await t.throwsAsync(loadModel(fixturePath(`exported/${golden.file}`)), {
        code: 'ERR_UNSUPPORTED',
        message,
      });
    });
    continue;
  }
  for (const { optimize, dtype } of ways) {
    test(`${golden.name}, optimize ${optimize}, ${dtype}`, async (t) => {
      // The values are of float32 arithmetic with these weights, whatever they are stored in.
      const type = golden.name === 'bfloat16' && dtype === 'auto' ? 'float32' : dtype;
      const model = await sharedModel(fixturePath(`exported/${golden.file}`), type);
      const tensors = tensorsIn([...golden.inputs, golden.keywords ?? {}]);
      const compare = (what: string, actual: ModelOutput, expected: StoredTree): void => {
        if (isStored(expected)) {
          if (!t.true(actual instanceof Tensor, what) || !(actual instanceof Tensor)) return;
          t.deepEqual([...actual.shape], [...expected.shape], what);
          closeToFloat64(t, what, actual, expected.values, {
            referenceError: golden.referenceError.output,
            dtype,
          });
        } else if (typeof expected === 'object' && expected !== null) {
          t.deepEqual(Object.keys(actual as object), Object.keys(expected), what);
          for (const [key, each] of Object.entries(expected))
            compare(`${what}.${key}`, (actual as Record<string, ModelOutput>)[key] as ModelOutput, each);
        } else {
          t.is(actual as unknown, expected, what);
        }
      };
      compare('output', await model.forward(tensors), golden.expected.output);
      const { layer, call, output, targets, reshapeTransform } = golden;
      const { heatmap } = golden.expected;
      if (layer === undefined || heatmap === undefined) return;
      const cam = new GradCAM({
        model,
        targetLayers: call === undefined ? layer : { path: layer, call },
        optimize,
        ...(output === undefined ? {} : { output }),
        ...(reshapeTransform === undefined
          ? {}
          : { reshapeTransform: { kind: reshapeTransform, prefixTokens: 1 } }),
      });
      const { heatmaps } = await cam.explain(tensors, { targets: [...(targets ?? [])] });
      t.deepEqual([...heatmaps.shape], [...heatmap.shape]);
      closeToFloat64(t, 'heatmap', heatmaps, heatmap.values, {
        referenceError: golden.referenceError.heatmap ?? 0,
        dtype,
      });
    });
  }
}

const fixed = cases.find(({ name }) => name === 'vit-batch-4') as ExportedCase;
const fourImages = () => tensorsIn(fixed.inputs[0] as StoredTree)[0] as Tensor;
const ofFixed = {
  targetLayers: fixed.layer ?? '',
  reshapeTransform: { kind: 'tokens', prefixTokens: 1 },
} as const;

test('a program for four images says so when it is given others', async (t) => {
  await using model = await loadModel(fixturePath(`exported/${fixed.file}`));
  t.is(model.exportedBatch, 4);
  const two = fourImages().narrow(0, 2);
  for (const call of [
    () => model.forward(two),
    () => model.forward(two), // known by now
    () => new GradCAM({ model, ...ofFixed }).explain(two, { targets: 0 }),
  ])
    await t.throwsAsync(call, {
      code: 'ERR_INPUT_SHAPE',
      message: /exported for 4 images.*2 were given.*dynamic_shapes/s,
    });
  t.deepEqual(
    model.warnings.map(({ code }) => code),
    ['exact-batch'],
  );
});

test('an Explainer fills up batches of a program for four images', async (t) => {
  await using model = await loadModel(fixturePath(`exported/${fixed.file}`));
  await using explainer = new Explainer({ model, ...ofFixed });
  const images = fourImages();
  const expected = fixed.expected.heatmap as Stored;
  const area = expected.values.length / 4;
  const check = async (count: number) => {
    const parts = Array.from({ length: count }, (_, index) => images.narrow(index, 1));
    const explained = await Promise.all(parts.map((part) => explainer.explain(part, { targets: 0 })));
    for (const [index, { heatmaps, maps, outputs }] of explained.entries()) {
      t.deepEqual([...heatmaps.shape], [1, ...expected.shape.slice(1)]);
      t.is(maps.length, 1);
      t.deepEqual([...(outputs as Tensor).shape], [1, 5]);
      closeToFloat64(
        t,
        `image ${index} of ${count}`,
        heatmaps,
        expected.values.slice(index * area, (index + 1) * area),
        {
          referenceError: fixed.referenceError.heatmap ?? 0,
        },
      );
    }
  };
  for (const count of [1, 3, 4, 2]) await check(count);
});
