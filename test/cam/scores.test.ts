import test from 'ava';
import {
  AblationCAM,
  BinaryClassifierOutputTarget,
  CAM,
  type CAMOptions,
  ClassifierOutputSoftmaxTarget,
  categoryMask,
  Explainer,
  FinerCAM,
  GradCAM,
  loadModel,
  loadModelWithSidecar,
  presentCategories,
  ScoreCAM,
  SemanticSegmentationTarget,
  Tensor,
  TopClassTarget,
} from 'node-gradcam';
import { readScores } from '../../lib/model/scores.js';
import { closeToFloat64 } from '../helpers/float64-result.js';
import { caseNamed, described, golden, highest, scoresPath } from '../helpers/scores.js';
import { sharedModel } from '../helpers/shared-models.js';

// What the outputs of a model mean: the default target and the probabilities, of values by PyTorch in double precision.

const picture = () => Tensor.from(Float32Array.from(golden.picture.values), golden.picture.shape);
const modelOf = (name: string) => sharedModel(scoresPath(`${name}.pt`));
const camOf = async (name: string, options: Omit<CAMOptions, 'model'> = {}) =>
  new GradCAM({ model: await modelOf(name), targetLayers: 'top', ...options });

for (const { name, outputs, probabilities, scores, labels } of golden.classifiers) {
  test(`${name}: probabilities`, (t) => {
    const read = readScores(outputs.values, { scores, labelCount: labels?.length }, 'float32');
    closeToFloat64(t, 'probabilities', read.probabilities ?? [], probabilities.values, probabilities);
    t.is(highest(read.values), highest(probabilities.values));
    t.is(read.note, null);
  });
}

test('what is certain without a word of the sidecar', (t) => {
  const unsaid = (
    values: readonly number[],
    labelCount?: number,
    dtype: 'float32' | 'float16' = 'float32',
  ) => {
    const { scores, probabilities, note } = readScores(values, { labelCount }, dtype);
    t.is(probabilities === null, note !== null);
    return [scores, probabilities === null];
  };
  t.deepEqual(unsaid(caseNamed('softmax-inside').outputs.values), ['probabilities', false]);
  t.deepEqual(unsaid(caseNamed('logits').outputs.values), ['logits', false]);
  t.deepEqual(unsaid(caseNamed('one-logit-negative').outputs.values, 2), ['binary', false]);
  // From 0 to 1, but no distribution: sigmoids, or small logits.
  t.deepEqual(unsaid(caseNamed('sigmoid-inside').outputs.values), [null, true]);
  // Of reduced precision a sum near 1 is no proof.
  t.deepEqual(unsaid(caseNamed('softmax-inside').outputs.values, undefined, 'float16'), [null, true]);
  t.deepEqual(unsaid(caseNamed('one-logit-small').outputs.values, 2), [null, true]);
  t.deepEqual(unsaid(caseNamed('one-sigmoid').outputs.values, 2), [null, true]);
  // One output and no two labels is nothing of which a share can be said: never 100 %.
  t.deepEqual(unsaid([-2]), [null, true]);
  t.deepEqual(unsaid([7], 1), [null, true]);
});

test('outputs that are not what the sidecar says', (t) => {
  const read = (values: readonly number[], scores: 'binary' | 'probabilities') => () =>
    readScores(values, { scores }, 'float32');
  t.throws(read([1, 2], 'binary'), { code: 'ERR_OUTPUT_SHAPE', message: /"logits" or "sigmoid"/ });
  t.throws(read([0.5, -2], 'probabilities'), { code: 'ERR_OUTPUT_SHAPE', message: /-2/ });
  t.notThrows(read([1.000001, 0], 'probabilities'));
  t.is(readScores([3], { scores: 'logits' }, 'float32').probabilities, null);
});

const twoSided = golden.classifiers.filter(({ labels }) => labels?.length === 2);
for (const { name, scores, probabilities, maps } of twoSided) {
  test(`${name}: the predicted side is explained, and each that is asked for`, async (t) => {
    const cam = await camOf(name, { scores, labelCount: 2 });
    const predicted = highest(probabilities.values);
    const own = await cam.explain(picture());
    t.is(own.maps[0]?.classIndex, predicted);
    closeToFloat64(t, 'predicted', own.heatmaps, maps[predicted]?.values ?? [], maps[predicted] as never);
    const both = await cam.explain(picture(), {
      targets: [[new TopClassTarget(1), 0, new TopClassTarget(0), 1, new BinaryClassifierOutputTarget(0)]],
    });
    const order = [1 - predicted, 0, predicted, 1, 0];
    t.deepEqual(
      both.maps.map(({ classIndex, targetIndex }) => [classIndex, targetIndex]),
      order.map((side, index) => [side, index]),
    );
    for (const [index, side] of order.entries()) {
      using map = both.heatmapOf(index);
      closeToFloat64(t, `target ${index}`, map, maps[side]?.values ?? [], maps[side] as never);
    }
    t.is(both.maps[0]?.score, -(both.maps[2]?.score ?? 0));
  });
}

test('a batch: of each image its own side, from an Explainer, too', async (t) => {
  const model = await modelOf('one-logit-small');
  // Its negative, enlarged, is on the other side than the picture.
  const { values: own, shape: whole } = golden.picture;
  const [, ...shape] = whole;
  const values = Float32Array.from([...own, ...own.map((value) => -20 * value), ...own]);
  const batch = Tensor.from(values, [3, ...shape]);
  const output = (await model.forward(batch)) as Tensor;
  const sides = Array.from(output.toTypedArray() as Float32Array, (logit) => (logit < 0 ? 0 : 1));
  t.deepEqual(sides, [1, 0, 1]);
  const options = { model, targetLayers: 'top', scores: 'binary' } as const;
  const cam = new GradCAM(options);
  const { maps, heatmaps } = await cam.explain(batch);
  t.deepEqual(
    maps.map(({ classIndex, imageIndex, targetIndex }) => [classIndex, imageIndex, targetIndex]),
    sides.map((side, image) => [side, image, 0]),
  );
  await using explainer = new Explainer({ ...options, maxBatch: 3 });
  const single = await Promise.all([0, 1, 2].map((image) => explainer.explain(batch.narrow(image, 1))));
  for (const [image, each] of single.entries()) {
    t.is(each.maps[0]?.classIndex, sides[image]);
    t.is(each.maps.length, 1);
    const named = await cam.explain(batch.narrow(image, 1), {
      targets: new BinaryClassifierOutputTarget(sides[image] as 0 | 1),
    });
    closeToFloat64(t, `image ${image}`, heatmaps.at(image), named.heatmaps, { referenceError: 0 });
    closeToFloat64(t, `explainer ${image}`, each.heatmaps, named.heatmaps, { referenceError: 0 });
  }
});

test('methods that run the model again keep the side of the whole picture', async (t) => {
  const model = await modelOf('one-logit-negative');
  for (const Method of [ScoreCAM, AblationCAM]) {
    const own = await new Method({ model, targetLayers: 'top', scores: 'binary' }).explain(picture());
    const plain = new Method({ model, targetLayers: 'top' });
    const named = await plain.explain(picture(), { targets: new BinaryClassifierOutputTarget(0) });
    t.is(own.maps[0]?.classIndex, 0);
    closeToFloat64(t, Method.name, own.heatmaps, named.heatmaps, { referenceError: 0 });
  }
});

test('two labels find one output by themselves; where its side cannot be told, it is refused', async (t) => {
  const negative = await camOf('one-logit-negative', { labelCount: 2 });
  t.is((await negative.explain(picture())).maps[0]?.classIndex, 0);
  for (const name of ['one-logit-small', 'one-sigmoid']) {
    const cam = await camOf(name, { labelCount: 2 });
    await t.throwsAsync(cam.explain(picture()), {
      code: 'ERR_UNSUPPORTED',
      message: /"scores": "binary" \(a logit\) or "probabilities"\. Or name the class/,
    });
    t.is((await cam.explain(picture(), { targets: 1 })).maps[0]?.classIndex, 1);
  }
  // Two outputs are two classes as ever.
  const { maps } = await (await camOf('logits', { labelCount: 2 })).explain(picture());
  t.is(maps[0]?.classIndex, 2);
});

test('what two sides are not for', async (t) => {
  const model = await modelOf('one-logit-negative');
  const options = { model, targetLayers: 'top', scores: 'binary' } as const;
  const explain = (cam: { explain: GradCAM['explain'] }, targets?: never) =>
    cam.explain(picture(), targets === undefined ? {} : { targets });
  await t.throwsAsync(explain(new GradCAM(options), 2 as never), { code: 'ERR_CLASS_OUT_OF_RANGE' });
  const softmax = new ClassifierOutputSoftmaxTarget(0) as never;
  await t.throwsAsync(explain(new GradCAM(options), softmax), { code: 'ERR_UNSUPPORTED' });
  await t.throwsAsync(explain(new FinerCAM(options)), { code: 'ERR_UNSUPPORTED', message: /one output/ });
  await t.throwsAsync(explain(new CAM(options)), { code: 'ERR_UNSUPPORTED', message: /GradCAM/ });
  const several = await camOf('logits', { scores: 'binary' });
  await t.throwsAsync(explain(several), { code: 'ERR_OUTPUT_SHAPE', message: /one output/ });
  t.throws(() => new GradCAM({ ...options, scores: 'softmax' as never }), { code: 'ERR_INVALID_ARG_TYPE' });
});

test('camOptions of a sidecar bring the scores', async (t) => {
  const { maps, labels = [] } = caseNamed('one-sigmoid');
  const { model, picture: path } = await described('one-sigmoid', { scores: 'probabilities', labels });
  await using whole = await loadModelWithSidecar(model);
  t.is(whole.sidecar.scores, 'probabilities');
  const image = await whole.loadImage(path);
  const cam = new GradCAM(whole.camOptions);
  const { maps: told, heatmaps } = await cam.explain(image.tensor);
  t.is(whole.labels?.[told[0]?.classIndex ?? -1], 'healthy');
  closeToFloat64(t, 'map', heatmaps, maps[0]?.values ?? [], maps[0] as never);
  const ill = await cam.explain(image.tensor, { targets: whole.findClass('ill') });
  t.is(ill.maps[0]?.classIndex, 1);
});

test('several independent labels are explained from one forward', async (t) => {
  const { maps } = caseNamed('multi-label');
  const cam = await camOf('multi-label', { scores: 'sigmoid' });
  const { heatmaps, maps: told } = await cam.explain(picture(), { targets: [[0, 1, new TopClassTarget(0)]] });
  t.deepEqual(
    told.map(({ classIndex }) => classIndex),
    [0, 1, 2],
  );
  for (const category of [0, 1, 2])
    closeToFloat64(
      t,
      `label ${category}`,
      heatmaps.at(category),
      maps[category]?.values ?? [],
      maps[category] as never,
    );
});

for (const { name, mask, map } of golden.segmenters) {
  test(`${name}: the foreground of one channel is category 0`, async (t) => {
    await using model = await loadModel(scoresPath(`${name}.pt`));
    const output = await model.forward(picture());
    const options = name === 'segment-sigmoid' ? { threshold: 0.5 } : {};
    const foreground = categoryMask(output, 0, options);
    t.deepEqual(Array.from(foreground.toTypedArray() as Float32Array), [...mask]);
    const pixels = mask.filter((value) => value === 1).length;
    t.deepEqual(presentCategories(output, options), [{ category: 0, pixels }]);
    t.throws(() => categoryMask(output, 1, options), {
      code: 'ERR_CLASS_OUT_OF_RANGE',
      message: /only category is 0, the foreground/,
    });
    const cam = new GradCAM({ model, targetLayers: 'deep' });
    const target = new SemanticSegmentationTarget(0, foreground);
    const { heatmaps } = await cam.explain(picture(), { targets: target });
    closeToFloat64(t, 'map', heatmaps, map.values, map);
    await t.throwsAsync(cam.explain(picture()), {
      code: 'ERR_OUTPUT_SHAPE',
      message: /\[1, 1, 24, 24\].*segmentation.*SemanticSegmentationTarget/,
    });
  });
}

test('one channel from 0 to 1 needs a threshold', async (t) => {
  const output = await (await modelOf('segment-sigmoid')).forward(picture());
  t.throws(() => categoryMask(output, 0), { code: 'ERR_INVALID_ARG_TYPE', message: /0\.5/ });
  t.throws(() => presentCategories(output), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(() => categoryMask(output, 0, { threshold: '1' as never }), { code: 'ERR_INVALID_ARG_TYPE' });
  const two = Tensor.from(new Float32Array(8), [2, 2, 2]);
  t.throws(() => categoryMask(two, 0, { threshold: 0 }), { code: 'ERR_OUT_OF_RANGE' });
});
