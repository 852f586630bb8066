import test, { type ExecutionContext } from 'ava';
import { ClassifierOutputTarget, GradCAM, GradCamError, loadModel, type Model, Tensor } from 'node-gradcam';
import { noise, readJson } from '../helpers/fixtures.js';
import { fixturePath } from '../helpers/root.js';

// Case 1 of the golden values: a small scripted classifier.
interface Golden {
  readonly cases: readonly {
    model: string;
    input: { shape: readonly number[] };
    targetLayers: readonly string[];
  }[];
}
const first = readJson<Golden>('golden.json').cases[0];
if (!first) throw new Error('golden.json has no cases');
const { model: modelFile, targetLayers } = first;
const shape = [1, ...first.input.shape.slice(1)];
const elementCount = shape.reduce((product, length) => product * length, 1);
const image = () => Tensor.from(noise(elementCount), shape);

async function failsWith(
  t: ExecutionContext,
  code: string,
  message: RegExp,
  action: () => unknown,
): Promise<GradCamError> {
  const error = await t.throwsAsync(async () => action(), { instanceOf: GradCamError, code, message });
  t.is(error.name, 'GradCamError');
  t.notRegex(error.message, /Exception raised from|Traceback|\n\s+at /, 'no C++ or interpreter trace');
  t.regex(error.stack ?? '', /errors\.test/, "the stack is the caller's");
  return error;
}

// The process must live on after each failure: a plain explain still works.
async function stillWorks(t: ExecutionContext, model: Model): Promise<void> {
  const { heatmaps } = await new GradCAM({ model, targetLayers }).explain(image());
  t.deepEqual([...heatmaps.shape], [1, ...shape.slice(2)]);
}

const withModel = test.macro(
  async (t, code: string, message: RegExp, action: (model: Model) => unknown, file: string = modelFile) => {
    await using model = await loadModel(fixturePath(file));
    await failsWith(t, code, message, () => action(model));
    await using healthy = await loadModel(fixturePath(modelFile));
    await stillWorks(t, healthy);
  },
);

const loadFails = test.macro(async (t, file: string, code: string, message: RegExp) => {
  const path = fixturePath(file);
  const error = await failsWith(t, code, message, () => loadModel(path));
  t.is(error.details.path, path);
});

test(
  'EXPECTED FAILURE - a missing file',
  loadFails,
  'bad/there-is-none.pt',
  'ERR_MODEL_NOT_FOUND',
  /no model file/,
);
test('EXPECTED FAILURE - a folder', loadFails, 'bad', 'ERR_MODEL_LOAD', /directory/);
test('EXPECTED FAILURE - an empty file', loadFails, 'bad/empty.pt', 'ERR_MODEL_LOAD', /empty/);
test(
  'EXPECTED FAILURE - a text file',
  loadFails,
  'bad/text.pt',
  'ERR_MODEL_LOAD',
  /neither an exported program \(\.pt2\) nor TorchScript.*torch\.export\.save/,
);
test(
  'EXPECTED FAILURE - a cut-off file',
  loadFails,
  'bad/truncated.pt',
  'ERR_MODEL_LOAD',
  /cut off or damaged/,
);
test(
  'EXPECTED FAILURE - weights saved with torch.save',
  loadFails,
  'bad/not_torchscript.pt',
  'ERR_MODEL_LOAD',
  /a state dict that torch\.save wrote.*torch\.export\.save.*torch\.jit\.trace/,
);
test(
  'EXPECTED FAILURE - weights in the old pickle format',
  loadFails,
  'bad/legacy_pickle.pt',
  'ERR_MODEL_LOAD',
  /torch\.save in its old format.*torch\.export\.save/,
);

test('EXPECTED FAILURE - an unknown layer names the nearest', async (t) => {
  await using model = await loadModel(fixturePath(modelFile));
  const wanted = `${targetLayers[0]}x`;
  const error = await failsWith(t, 'ERR_UNKNOWN_LAYER', /nearest names/, () => {
    new GradCAM({ model, targetLayers: wanted });
  });
  t.is(error.details.layer, wanted);
  t.is(error.details.suggestions?.[0], targetLayers[0]);
  await stillWorks(t, model);
});

test(
  'EXPECTED FAILURE - a layer that forward never calls',
  withModel,
  'ERR_LAYER_NOT_CALLED',
  /never calls/,
  (model) => new GradCAM({ model, targetLayers: 'unused' }).explain(image()),
  'disconnected.pt',
);
test(
  'EXPECTED FAILURE - a layer the output does not depend on',
  withModel,
  'ERR_LAYER_DISCONNECTED',
  /does not depend on layer 'side'/,
  (model) => new GradCAM({ model, targetLayers: 'side', output: 0 }).explain(image(), { targets: 0 }),
  'disconnected.pt',
);
test('EXPECTED FAILURE - a layer without a map', withModel, 'ERR_LAYER_OUTPUT', /spatial axes/, (model) =>
  new GradCAM({ model, targetLayers: 'fc' }).explain(image()),
);
test(
  'EXPECTED FAILURE - no layer with a map to suggest',
  withModel,
  'ERR_NO_LAYER_SUGGESTION',
  /no layer gives a map/,
  async (model) => await new GradCAM({ model }).explain(Tensor.from(noise(3), [1, 3, 1, 1])),
);
test(
  'EXPECTED FAILURE - too many inputs',
  withModel,
  'ERR_MODEL_ARGUMENTS',
  /There are 4 tensors and the method takes 1 .*The model has forward\(/,
  (model) => model.forward([image(), image(), image(), image()]),
);
test(
  'EXPECTED FAILURE - a call that the layer does not have',
  withModel,
  'ERR_LAYER_NOT_CALLED',
  /called 1 time,/,
  (model) => new GradCAM({ model, targetLayers: { path: targetLayers[0] ?? '', call: 1 } }).explain(image()),
);
test(
  'EXPECTED FAILURE - a frozen file',
  withModel,
  'ERR_MODEL_FROZEN',
  /was frozen.*a value of the frozen graph.*conv/s,
  (model) => new GradCAM({ model, targetLayers: 'layer1' }).explain(image()),
  'frozen.pt',
);
test(
  'EXPECTED FAILURE - no forward method',
  withModel,
  'ERR_NO_FORWARD',
  /methods are: .*encode/,
  (model) => model.forward(image()),
  'no_forward.pt',
);
test(
  'EXPECTED FAILURE - the wrong number of channels',
  withModel,
  'ERR_INPUT_SHAPE',
  /forward failed on the input \[1, 7, 16, 16\]/,
  (model) => new GradCAM({ model, targetLayers }).explain(Tensor.from(noise(7 * 256), [1, 7, 16, 16])),
);
test('EXPECTED FAILURE - too few dimensions', withModel, 'ERR_INPUT_SHAPE', /\[3, 40\]/, (model) =>
  new GradCAM({ model, targetLayers }).explain(Tensor.from(noise(120), [3, 40])),
);
test('EXPECTED FAILURE - an empty batch', withModel, 'ERR_INPUT_SHAPE', /empty/, (model) =>
  new GradCAM({ model, targetLayers }).explain(Tensor.from(new Float32Array(), [0, ...shape.slice(1)])),
);
test('EXPECTED FAILURE - an integer image', withModel, 'ERR_INPUT_DTYPE', /int64|long/, (model) =>
  new GradCAM({ model, targetLayers }).explain(Tensor.from(new BigInt64Array(elementCount), shape)),
);
for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
  test(
    `EXPECTED FAILURE - ${value} in the input`,
    withModel,
    'ERR_INPUT_NOT_FINITE',
    /NaN or infinite/,
    (model) => {
      const data = noise(elementCount);
      data[5] = value;
      return new GradCAM({ model, targetLayers }).explain(Tensor.from(data, shape));
    },
  );
}
test(
  'EXPECTED FAILURE - a class out of range',
  withModel,
  'ERR_CLASS_OUT_OF_RANGE',
  /Class 4000 does not exist: the model has \d+ classes/,
  (model) =>
    new GradCAM({ model, targetLayers }).explain(image(), { targets: new ClassifierOutputTarget(4000) }),
);
test(
  'EXPECTED FAILURE - fewer targets than images',
  withModel,
  'ERR_TARGET_COUNT',
  /2 targets for 3 images/,
  (model) =>
    new GradCAM({ model, targetLayers }).explain(
      Tensor.from(noise(3 * elementCount), [3, ...shape.slice(1)]),
      { targets: [0, 1] },
    ),
);
test(
  'EXPECTED FAILURE - an output that is not there',
  withModel,
  'ERR_OUTPUT_SELECTOR',
  /no entry 'aux'/,
  (model) => new GradCAM({ model, targetLayers, output: 'aux' }).explain(image()),
);
test(
  'EXPECTED FAILURE - an output that is not one tensor',
  withModel,
  'ERR_OUTPUT_SELECTOR',
  /one of 0, 1/,
  (model) => new GradCAM({ model, targetLayers: 'side' }).explain(image()),
  'disconnected.pt',
);

test('EXPECTED FAILURE - a disposed model, also while it works', async (t) => {
  const model = await loadModel(fixturePath(modelFile));
  const cam = new GradCAM({ model, targetLayers });
  const running = cam.explain(image());
  const disposal = model.dispose();
  await failsWith(t, 'ERR_DISPOSED', /model was disposed/, () => cam.explain(image()));
  await failsWith(t, 'ERR_DISPOSED', /model was disposed/, () => model.layers());
  await failsWith(t, 'ERR_DISPOSED', /model was disposed/, () => model.forward(image()));
  t.is((await running).heatmaps.shape[0], 1, 'work that had begun is finished');
  await disposal;
  await t.notThrowsAsync(model.dispose(), 'disposing twice is fine');
});

test('EXPECTED FAILURE - a disposed tensor', async (t) => {
  await using model = await loadModel(fixturePath(modelFile));
  const tensor = image();
  tensor.dispose();
  tensor.dispose();
  await failsWith(t, 'ERR_DISPOSED', /tensor was disposed/, () => tensor.toTypedArray());
  await failsWith(t, 'ERR_DISPOSED', /tensor was disposed/, () => model.forward(tensor));
});

test('EXPECTED FAILURE - CUDA asked for and absent', async (t) => {
  const outcome = await loadModel(fixturePath(modelFile), { device: 'cuda:7' }).catch(
    (error: unknown) => error,
  );
  t.true(outcome instanceof GradCamError);
  t.is((outcome as GradCamError).code, 'ERR_CUDA_UNAVAILABLE');
  t.regex(
    (outcome as GradCamError).message,
    /CUDA is not available: .+ Use device 'cpu'|does not exist: this machine has/,
  );
  await using onCpu = await loadModel(fixturePath(modelFile), { device: 'auto' });
  await stillWorks(t, onCpu);
});

const badCalls: readonly [name: string, code: string, action: (model: Model) => unknown][] = [
  ['a path that is no string', 'ERR_INVALID_ARG_TYPE', () => loadModel(7 as never)],
  ['an unknown device', 'ERR_INVALID_ARG_TYPE', () => loadModel('x.pt', { device: 'gpu' as never })],
  ['an unknown dtype', 'ERR_INVALID_ARG_TYPE', () => loadModel('x.pt', { dtype: 'int8' as never })],
  ['a misspelt option', 'ERR_UNKNOWN_OPTION', () => loadModel('x.pt', { devise: 'cpu' } as never)],
  ['no model', 'ERR_INVALID_ARG_TYPE', () => new GradCAM({} as never)],
  ['a foreign model', 'ERR_INVALID_ARG_TYPE', () => new GradCAM({ model: {} as never })],
  ['no layers', 'ERR_OUT_OF_RANGE', (model) => new GradCAM({ model, targetLayers: [] })],
  [
    'a layer that is a number',
    'ERR_INVALID_ARG_TYPE',
    (model) => new GradCAM({ model, targetLayers: 3 as never }),
  ],
  ['a negative class', 'ERR_OUT_OF_RANGE', () => new ClassifierOutputTarget(-1)],
  ['a class that is no integer', 'ERR_OUT_OF_RANGE', () => new ClassifierOutputTarget(1.5)],
  ['a class that is a string', 'ERR_INVALID_ARG_TYPE', () => new ClassifierOutputTarget('cat' as never)],
  [
    'no targets',
    'ERR_OUT_OF_RANGE',
    (model) => new GradCAM({ model, targetLayers }).explain(image(), { targets: [] }),
  ],
  ['an input that is no tensor', 'ERR_INVALID_ARG_TYPE', (model) => model.forward('image' as never)],
  ['no input', 'ERR_INVALID_ARG_TYPE', (model) => model.forward([])],
  ['a shape that does not fit', 'ERR_OUT_OF_RANGE', () => Tensor.from(new Float32Array(6), [2, 4])],
  ['a shape that overflows', 'ERR_OUT_OF_RANGE', () => Tensor.from(new Float32Array(0), [2 ** 40, 2 ** 40])],
  ['a negative dimension', 'ERR_OUT_OF_RANGE', () => Tensor.from(new Float32Array(6), [-2, -3])],
  ['a shape of strings', 'ERR_OUT_OF_RANGE', () => Tensor.from(new Float32Array(6), ['6'] as never)],
  ['data of strings', 'ERR_INVALID_ARG_TYPE', () => Tensor.from(['a'] as never, [1])],
  [
    'a typed array without a type here',
    'ERR_INVALID_ARG_TYPE',
    () => Tensor.from(new Uint32Array(1) as never, [1]),
  ],
  ['a slice beyond the end', 'ERR_OUT_OF_RANGE', () => Tensor.from([1, 2], [2]).at(2)],
  [
    'a signal that is none',
    'ERR_INVALID_ARG_TYPE',
    (model) => model.forward(image(), { signal: {} as never }),
  ],
];
for (const [name, code, action] of badCalls) {
  test(`BAD CALL - ${name}`, async (t) => {
    await using model = await loadModel(fixturePath(modelFile));
    const error = await t.throwsAsync(async () => action(model), { code });
    t.true(error instanceof TypeError || error instanceof RangeError);
  });
}
