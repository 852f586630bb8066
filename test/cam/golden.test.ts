import test from 'ava';
import { GradCAM, type Model, type ModelOutput, type OutputSelector, setThreads, Tensor } from 'node-gradcam';
import { readArray, readJson, readTensor, type StoredArray } from '../helpers/fixtures.js';
import { closeToFloat64, type Way, ways } from '../helpers/float64-result.js';
import { fixturePath } from '../helpers/root.js';
import { sharedModel } from '../helpers/shared-models.js';

// Expected values come from pytorch-grad-cam itself (or, where it cannot run, from a derivation by hand), in double
// precision, see tools/fixtures/networks/golden.py.
interface GoldenCase {
  readonly name: string;
  readonly description: string;
  readonly model: string;
  /** The same model as an exported program, where it exports. */
  readonly exported?: string;
  readonly input: StoredArray;
  readonly targetLayers: readonly string[];
  readonly call?: number | 'last' | 'all';
  readonly output?: OutputSelector;
  readonly targets: number[][] | null;
  readonly upsample?: boolean;
  readonly expected: {
    readonly heatmaps: StoredArray;
    readonly scores: readonly number[];
    readonly outputs: StoredArray;
  };
  readonly referenceError: Readonly<Record<'heatmaps' | 'scores' | 'outputs', number>>;
}

const { cases } = readJson<{ cases: readonly GoldenCase[] }>('golden.json');
// Both formats have the weights of one model, and so one expected result.
const files = cases.flatMap((golden) =>
  [golden.model, ...(golden.exported === undefined ? [] : [golden.exported])].map((file) => ({
    golden,
    file,
  })),
);

// The models are so small that threads would only wait for each other.
setThreads({ intraOpThreads: 1 });

function selected(outputs: ModelOutput, selector: OutputSelector | undefined): ModelOutput {
  const steps = selector === undefined ? [] : Array.isArray(selector) ? selector : [selector];
  return steps.reduce<ModelOutput>(
    (value, step) => (value as Record<string, ModelOutput>)[step] ?? null,
    outputs,
  );
}

function newCam(model: Model, golden: GoldenCase, optimize?: boolean): GradCAM {
  const { targetLayers, call, output } = golden;
  return new GradCAM({
    model,
    targetLayers: targetLayers.map((path) => (call === undefined ? path : { path, call })),
    ...(output === undefined ? {} : { output }),
    ...(optimize === undefined ? {} : { optimize }),
  });
}

const described = ({ optimize, dtype }: Way) =>
  dtype === 'float64' ? ', in float64' : optimize ? '' : ', not optimized';

for (const { golden, file } of files) {
  for (const way of ways) {
    const title = `equals pytorch-grad-cam: ${golden.name} (${golden.description}), ${file}${described(way)}`;
    test(title, async (t) => {
      const { dtype, optimize } = way;
      const model = await sharedModel(fixturePath(file), dtype);
      const result = await newCam(model, golden, optimize).explain(readTensor(golden.input), {
        ...(golden.targets === null ? {} : { targets: golden.targets }),
        upsample: golden.upsample ?? true,
      });
      const { expected, referenceError } = golden;
      const close = (key: keyof typeof expected, actual: Tensor | readonly number[]) => {
        const values = expected[key];
        const numbers = 'file' in values ? readArray(values) : values;
        closeToFloat64(t, key, actual, numbers, { referenceError: referenceError[key], dtype });
      };
      t.deepEqual([...result.heatmaps.shape], [...expected.heatmaps.shape]);
      t.is(result.heatmaps.dtype, 'float32');
      close('heatmaps', result.heatmaps);
      close('scores', result.scores);
      close('outputs', selected(result.outputs, golden.output) as Tensor);
    });
  }
}

for (const { golden, file } of files) {
  for (const dtype of ['auto', 'float64'] as const) {
    test(`forward() gives the outputs of ${golden.name} (${golden.description}), ${file}, in ${dtype}`, async (t) => {
      const model = await sharedModel(fixturePath(file), dtype);
      const input = readTensor(golden.input);
      const [expected, referenceError] = [readArray(golden.expected.outputs), golden.referenceError.outputs];
      for (let call = 0; call < 3; call++) {
        // Weights are put into oneDNN's order when a size comes again.
        const outputs = selected(await model.forward(input), golden.output) as Tensor;
        t.deepEqual([...outputs.shape], [...golden.expected.outputs.shape]);
        closeToFloat64(t, 'outputs', outputs, expected, { referenceError, dtype });
      }
      t.deepEqual(input.toTypedArray(), readTensor(golden.input).toTypedArray());
    });
  }
}

test('the images of a batch one by one', async (t) => {
  const batches = cases.filter(({ input }) => (input.shape[0] ?? 1) > 1);
  t.true(batches.length > 0);
  for (const golden of batches) {
    const cam = newCam(await sharedModel(fixturePath(golden.model)), golden);
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
    const expected = readArray(golden.expected.heatmaps);
    closeToFloat64(t, golden.name, singles, expected, { referenceError: golden.referenceError.heatmaps });
  }
});
