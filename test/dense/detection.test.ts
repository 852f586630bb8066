import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import test from 'ava';
import {
  AblationCAM,
  detectedBoxes,
  doctor,
  EigenCAM,
  FasterRCNNBoxScoreTarget,
  GradCAM,
  loadModel,
  type ModelOutput,
  ShapleyCAM,
  SmoothGradCAMPlusPlus,
  setThreads,
  Tensor,
  TorchScriptTarget,
} from 'node-gradcam';
import {
  type DetectionCase,
  detectionCases,
  detectionPath,
  floatsOf,
  tensorIn,
} from '../helpers/detection-fixtures.js';
import { closeToFloat64, type Values, ways } from '../helpers/float64-result.js';
import { camOf } from '../helpers/methods.js';
import { sharedModel } from '../helpers/shared-models.js';
import { testWith } from '../helpers/test-with.js';

// torchvision's Faster R-CNN and a head like YOLO's, against pytorch-grad-cam and, for the gradients of a feature
// pyramid, PyTorch's autograd, in double precision: tools/fixtures/architectures/detection.py.

const withTorchvision = testWith('torchvision');

// The models are so small that threads would only wait for each other.
setThreads({ intraOpThreads: 1 });

const detectionsOf = (output: ModelOutput) => (output as ModelOutput[])[1] as Record<string, Tensor>[];
const boxTargets = (golden: DetectionCase) =>
  (golden.boxes ?? []).map(({ labels, boundingBoxes, iouThreshold }) => [
    new FasterRCNNBoxScoreTarget(labels, boundingBoxes, iouThreshold),
  ]);
const faster = detectionCases.filter(({ boxes }) => boxes);
const [first] = faster as [DetectionCase];
const resized = faster.find(({ name }) => name === 'frcnn-resized-gradcam-pyramid') as DetectionCase;
const loadFasterRcnn = () => loadModel(detectionPath('faster_rcnn.pt'));

for (const golden of faster) {
  withTorchvision(`${golden.name}: ${golden.method} at ${golden.layer}`, async (t) => {
    const input = tensorIn(golden.input);
    for (const { dtype, optimize } of ways) {
      const model = await sharedModel(detectionPath(golden.model), dtype);
      const cam = camOf(golden.method, { model, targetLayers: golden.layer, output: 1, optimize });
      const { heatmaps, scores, outputs } = await cam.explain(input, { targets: boxTargets(golden) });
      t.deepEqual([...heatmaps.shape], [...golden.heatmaps.shape]);
      const close = (key: 'heatmaps' | 'scores' | 'detections', actual: Values, expected: Values) =>
        closeToFloat64(t, `${key}, optimize ${optimize}, ${dtype}`, actual, expected, {
          referenceError: golden.referenceError[key],
          dtype,
        });
      close('heatmaps', heatmaps, floatsOf(golden.heatmaps));
      close('scores', scores, golden.scores ?? []);
      for (const [image, detections] of detectionsOf(outputs).entries()) {
        for (const key of ['boxes', 'labels', 'scores'] as const) {
          close('detections', detections[key] as Tensor, golden.detections?.[image]?.[key] ?? []);
        }
      }
    }
  });
}

withTorchvision(
  'Faster R-CNN takes images as a batch, as a list, and without a batch dimension',
  async (t) => {
    await using model = await loadFasterRcnn();
    t.true(model.takesImageList);
    const batch = tensorIn(first.input);
    const [, channels = 0, height = 0, width = 0] = batch.shape;
    const alone = [0, 1].map((image) => batch.at(image));
    const lifted = alone.map((image) => Tensor.from(image.toTypedArray(), [1, channels, height, width]));
    const cam = new EigenCAM({ model, output: 1 });
    const targets = boxTargets(first);
    const whole = await cam.explain(batch, { targets });
    t.is(whole.layers[0]?.path, 'backbone', 'the suggested layer');
    for (const input of [alone, lifted]) {
      const { heatmaps } = await cam.explain(input, { targets });
      t.deepEqual(heatmaps.toTypedArray(), whole.heatmaps.toTypedArray());
      t.is(detectionsOf(await model.forward(input)).length, 2);
    }
  },
);

withTorchvision('images of different sizes in one explain, each as if it were alone', async (t) => {
  await using model = await loadFasterRcnn();
  const images = [tensorIn(first.input).at(1), tensorIn(resized.input).at(0), tensorIn(first.input).at(0)];
  const targets = [boxTargets(first)[1], boxTargets(resized)[0], boxTargets(first)[0]] as ReturnType<
    typeof boxTargets
  >;
  const cam = new GradCAM({ model, targetLayers: 'backbone', output: 1 });
  const together = await cam.explain(images, { targets });
  t.deepEqual(
    together.maps.map(({ imageIndex }) => imageIndex),
    [0, 1, 2],
  );
  t.is(detectionsOf(together.outputs).length, 3);
  for (const [index, image] of images.entries()) {
    const alone = await cam.explain([image], { targets: [targets[index] as (typeof targets)[number]] });
    t.deepEqual([...together.heatmapOf(index).shape], [...image.shape.slice(1)]);
    t.deepEqual(together.heatmapOf(index).toTypedArray(), alone.heatmapOf(0).toTypedArray());
  }
  t.throws(() => together.heatmaps, { code: 'ERR_OUTPUT_SHAPE', message: /heatmapOf/ });
  const passing = images.map((image) => Tensor.from(image.toTypedArray(), image.shape));
  const pending = cam.explain(passing, { targets });
  for (const image of passing) image.dispose();
  t.deepEqual((await pending).heatmapOf(2).toTypedArray(), together.heatmapOf(2).toTypedArray());
  const mixed = await model.forward(images);
  t.is(detectionsOf(mixed).length, 3);
  together.dispose();
});

withTorchvision("boxes of the model's own output make the target", async (t) => {
  await using model = await loadFasterRcnn();
  const image = tensorIn(resized.input);
  const [detections] = detectionsOf(await model.forward(image));
  const found = detectedBoxes(detections, { minScore: 0.05 });
  t.is(found.length, resized.detections?.[0]?.labels.length ?? 0);
  t.true(found.every(({ score }, index) => index === 0 || score <= (found[index - 1]?.score ?? 0)));
  const { scores } = await new GradCAM({ model, output: 1 }).explain(image, {
    targets: FasterRCNNBoxScoreTarget.of(found),
  });
  // Each box overlaps itself entirely.
  const expected = found.reduce((sum, { score }) => sum + score + 1, 0);
  t.true(Math.abs((scores[0] ?? 0) - expected) < 1e-5 * expected);
  t.deepEqual(detectedBoxes(detections, { minScore: 1 }), []);
  t.throws(() => FasterRCNNBoxScoreTarget.of([]), { code: 'ERR_INVALID_ARG_TYPE', message: /minScore/ });
  t.throws(() => detectedBoxes([]), { code: 'ERR_OUTPUT_SHAPE', message: /output\[1\]\[0\]/ });
});

withTorchvision('what cannot be explained at a pyramid says so, and the model goes on', async (t) => {
  await using model = await loadFasterRcnn();
  const input = tensorIn(resized.input);
  const targets = boxTargets(resized);
  const at = { model, targetLayers: 'backbone', output: 1 } as const;
  const fails = (action: () => Promise<unknown>, code: string, message: RegExp) =>
    t.throwsAsync(action, { code, message });
  await fails(
    () => new GradCAM({ ...at, reshapeTransform: 'tokens' }).explain(input, { targets }),
    'ERR_LAYER_OUTPUT',
    /featurePyramid/,
  );
  await fails(
    () =>
      new GradCAM({
        ...at,
        targetLayers: 'backbone.body.layer3',
        reshapeTransform: 'featurePyramid',
      }).explain(input, {
        targets,
      }),
    'ERR_LAYER_OUTPUT',
    /one tensor/,
  );
  await fails(
    () => new GradCAM({ ...at, targetLayers: 'roi_heads.box_predictor' }).explain(input, { targets }),
    'ERR_LAYER_OUTPUT',
    /feature pyramid/,
  );
  await fails(() => new SmoothGradCAMPlusPlus(at).explain(input, { targets }), 'ERR_UNSUPPORTED', /pyramid/);
  await fails(() => new ShapleyCAM(at).explain(input, { targets }), 'ERR_UNSUPPORTED', /second derivative/);
  await fails(
    () => new GradCAM({ model, targetLayers: 'backbone' }).explain(input),
    'ERR_OUTPUT_SELECTOR',
    /output/,
  );
  await fails(
    () => new GradCAM(at).explain(Tensor.from(new Float32Array(12), [1, 12]), { targets }),
    'ERR_INPUT_SHAPE',
    /shape/,
  );
  // What the model's own code raises, without its traceback.
  const forward = (data: Float32Array | Uint8Array, shape: number[]) =>
    model.forward(Tensor.from(data, shape));
  await fails(() => forward(new Float32Array(12), [12]), 'ERR_INPUT_SHAPE', /last two dimensions/);
  await fails(
    () => forward(new Float32Array(12), [3, 4]),
    'ERR_INPUT_SHAPE',
    /float: images is expected to be/,
  );
  await fails(() => forward(new Uint8Array(12), [3, 2, 2]), 'ERR_INPUT_DTYPE', /char: Expected input images/);
  const elsewhere = new FasterRCNNBoxScoreTarget([1], [[0, 0, 0.5, 0.5]]);
  await fails(
    () => new GradCAM(at).explain(input, { targets: elsewhere }),
    'ERR_NO_DETECTION',
    /No detection matches box 0 \(0, 0, 0\.5, 0\.5, label 1\)/,
  );
  const { heatmaps } = await camOf(resized.method, at).explain(input, { targets });
  closeToFloat64(t, resized.name, heatmaps, floatsOf(resized.heatmaps), {
    referenceError: resized.referenceError.heatmaps,
  });
});

withTorchvision('several targets, abort and dispose', async (t) => {
  const model = await loadFasterRcnn();
  const input = tensorIn(resized.input);
  const found = detectedBoxes(detectionsOf(await model.forward(input))[0], { minScore: 0.05 });
  const each = found.map((box) => FasterRCNNBoxScoreTarget.of([box]));
  const { heatmaps } = await new GradCAM({ model, output: 1 }).explain(input, { targets: [each] });
  t.is(heatmaps.shape[0], found.length);
  const reason = new Error('enough');
  const ablation = new AblationCAM({ model, output: 1, batchSize: 1 });
  const controller = new AbortController();
  const aborted = ablation.explain(input, {
    targets: each.slice(0, 1),
    signal: controller.signal,
    onProgress: () => controller.abort(reason),
  });
  t.is(await t.throwsAsync(aborted), reason);
  await model.dispose();
  await t.throwsAsync(ablation.explain(input, { targets: each.slice(0, 1) }), { code: 'ERR_DISPOSED' });
});

for (const golden of detectionCases.filter(({ target }) => target)) {
  test(`${golden.name}: a single tensor head through a TorchScript target`, async (t) => {
    const target = await TorchScriptTarget.load(detectionPath(golden.target as string));
    const { referenceError } = golden;
    for (const { dtype, optimize } of ways) {
      const model = await sharedModel(detectionPath(golden.model), dtype);
      const cam = camOf(golden.method, { model, targetLayers: golden.layer, optimize });
      const { heatmaps, scores } = await cam.explain(tensorIn(golden.input), { targets: target });
      const name = `optimize ${optimize}, ${dtype}`;
      closeToFloat64(t, name, heatmaps, floatsOf(golden.heatmaps), {
        referenceError: referenceError.heatmaps,
        dtype,
      });
      closeToFloat64(t, `scores, ${name}`, scores, golden.scores ?? [], {
        referenceError: referenceError.scores,
        dtype,
      });
    }
  });
}

// Operators ----------------------------------------------------------------------------------------------------

test('EXPECTED FAILURE - an operator that nobody has is named, with the cure', async (t) => {
  const path = detectionPath('unknown_operator.pt');
  const error = await t.throwsAsync(loadModel(path), { code: 'ERR_MISSING_OPERATOR', message: /libraries/ });
  t.regex(error?.message ?? '', /acme::twice/);
  t.like((error as { details?: object }).details, { operator: 'acme::twice', path });
});

test('EXPECTED FAILURE - libraries that cannot be loaded', async (t) => {
  const path = detectionPath('yolo.pt');
  const fails = (libraries: unknown, code: string, message: RegExp) =>
    t.throwsAsync(loadModel(path, { libraries: libraries as string[] }), { code, message });
  await fails(['/there/is/none.so'], 'ERR_OPERATOR_LIBRARY', /no such file/);
  await fails([detectionPath('')], 'ERR_OPERATOR_LIBRARY', /folder/);
  await fails([detectionPath('golden.json')], 'ERR_OPERATOR_LIBRARY', /LibTorch 2\.\d+\.\d+/);
  await fails('x.so', 'ERR_INVALID_ARG_TYPE', /array/);
  await fails([1], 'ERR_INVALID_ARG_TYPE', /libraries\[0\]/);
  const model = await loadModel(path);
  await model.dispose();
});

// Operators stay loaded in a process, so what happens without them is tried in another.
const inAnotherProcess = async (script: string, env: NodeJS.ProcessEnv, ...args: string[]) => {
  const options = { env: { ...process.env, ...env } };
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--input-type=module', '--eval', script, '--', ...args],
    options,
  );
  return JSON.parse(stdout);
};
const loadScript = `
  import { loadModel } from 'node-gradcam';
  const [path, ...libraries] = process.argv.slice(1);
  const preflight = process.env.PREFLIGHT === 'yes';
  const result = await loadModel(path, { libraries, preflight }).then(
    (model) => ({ layers: model.layers().length }),
    ({ code, message, details }) => ({ code, message, details }),
  );
  console.log(JSON.stringify(result));
`;

test('EXPECTED FAILURE - a TORCHVISION_LIBRARY that is not there', async (t) => {
  for (const PREFLIGHT of ['no', 'yes']) {
    const env = { TORCHVISION_LIBRARY: '/nowhere/_C.so', PREFLIGHT };
    const result = await inAnotherProcess(loadScript, env, detectionPath('faster_rcnn.pt'));
    t.like(result, { code: 'ERR_MISSING_OPERATOR', details: { operator: 'torchvision::nms' } });
    t.regex(
      result.message,
      /\/nowhere\/_C\.so \(TORCHVISION_LIBRARY\) cannot be used: there is no such file/,
    );
    t.regex(result.message, /fetch-torchvision/);
  }
});

withTorchvision('a library may be named instead of found', async (t) => {
  const library = doctor().torchvision?.path as string;
  for (const PREFLIGHT of ['no', 'yes']) {
    const env = { TORCHVISION_LIBRARY: '/nowhere/_C.so', PREFLIGHT };
    const result = await inAnotherProcess(loadScript, env, detectionPath('faster_rcnn.pt'), library);
    t.true(result.layers > 30, JSON.stringify(result));
  }
});
