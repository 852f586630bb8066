import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import {
  type CAMOptions,
  ClassifierOutputReST,
  ClassifierOutputSoftmaxTarget,
  ClassifierOutputTarget,
  CosineSimilarityTarget,
  DifferenceFromConceptTarget,
  type ExplainOptions,
  FinerWeightedTarget,
  GradCAM,
  HiResCAM,
  loadModel,
  type MethodName,
  type Model,
  methodNames,
  RandomCAM,
  RawScoresOutputTarget,
  type ReshapeTransform,
  setThreads,
  type Target,
  Tensor,
  VectorTarget,
} from 'node-gradcam';
import { methods } from '../../lib/cam/methods/registry.js';
import { maxDifference, noise } from '../helpers/fixtures.js';
import { asCloseAs, yardstick } from '../helpers/float64-result.js';
import { fixturePath } from '../helpers/root.js';

// What must hold for any input, of every method. Which values are right is family.test.ts' business.

interface Subject {
  readonly name: string;
  readonly file: string;
  /** Of one image: channels, then space. */
  readonly shape: readonly number[];
  readonly targetLayers: readonly string[];
  readonly reshapeTransform?: ReshapeTransform;
  readonly classes: number;
  /** The target layer is averaged over space and classified by one linear layer: what CAM asks for. */
  readonly meanPooled?: boolean;
}

const residual: Subject = {
  name: 'a residual network, two layers',
  file: 'resnet.pt',
  shape: [3, 16, 20],
  targetLayers: ['layer1.0', 'layer2.1'],
  classes: 5,
};
const subjects: readonly Subject[] = [
  residual,
  {
    name: 'a vision transformer',
    file: 'vit-relu.pt',
    shape: [3, 24, 24],
    targetLayers: ['blocks.0.mlp.act'],
    reshapeTransform: 'tokens',
    classes: 5,
  },
  {
    name: 'a residual network, the last layer',
    file: 'resnet.pt',
    shape: [3, 16, 20],
    targetLayers: ['layer2.1'],
    classes: 5,
    meanPooled: true,
  },
  { name: 'signals', file: 'signal.pt', shape: [2, 61], targetLayers: ['layer2.0'], classes: 4 },
  { name: 'volumes', file: 'volume.pt', shape: [1, 7, 10, 12], targetLayers: ['layer2.0'], classes: 4 },
];

// The models are so small that threads would only wait for each other.
setThreads({ intraOpThreads: 1 });

const run = (numRuns: number) => ({ numRuns, seed: 20260801, includeErrorInReport: true });
const sizeOf = (shape: readonly number[]) => shape.reduce((product, length) => product * length, 1);
const pathOf = ({ file }: Subject) => fixturePath(`family/${file}`);
// What holds of the arithmetic is shown in float64: in float32 a ReLU may take its other side wherever it is asked.
const loadSubject = (subject: Subject, dtype: 'auto' | 'float64' = 'float64') =>
  loadModel(pathOf(subject), { dtype });

/** How an image is made: short enough to be printed as a counterexample. */
type Recipe =
  | { readonly noiseSeed: number; readonly scale: number }
  | { readonly value: number; readonly alone: boolean };

const noisyImage = fc.record({ noiseSeed: fc.nat(), scale: fc.double({ min: 0.3, max: 3, noNaN: true }) });

/** Noise, one value everywhere, and one place alone. */
const anyImage = fc.oneof(
  noisyImage,
  fc.record({ value: fc.double({ min: -1000, max: 1000, noNaN: true }), alone: fc.boolean() }),
  fc.constant({ value: 0, alone: false }),
);

function imageOf(recipe: Recipe, { shape }: Subject): Float32Array {
  const size = sizeOf(shape);
  if ('noiseSeed' in recipe) return noise(size, recipe.noiseSeed).map((value) => value * recipe.scale);
  const image = new Float32Array(size);
  return recipe.alone ? image.fill(recipe.value, size >> 1, (size >> 1) + 1) : image.fill(recipe.value);
}

const batchOf = (recipes: readonly Recipe[], subject: Subject) =>
  Tensor.from(Float32Array.from(recipes.flatMap((recipe) => [...imageOf(recipe, subject)])), [
    recipes.length,
    ...subject.shape,
  ]);

async function explain(
  { targetLayers, reshapeTransform }: Subject,
  model: Model,
  method: MethodName,
  batch: Tensor,
  options?: ExplainOptions,
  optimize = true,
) {
  const camOptions: CAMOptions = {
    model,
    targetLayers,
    optimize,
    ...(reshapeTransform ? { reshapeTransform } : {}),
  };
  return await new methods[method](camOptions).explain(batch, options);
}

/** LeGrad is for transformers only, CAM for pooled layers. */
const methodsFor = ({ reshapeTransform, meanPooled }: Subject) =>
  methodNames.filter((method) => {
    if (method === 'legrad') return reshapeTransform !== undefined;
    return method !== 'cam' || meanPooled === true;
  });

const values = (tensor: Tensor) => tensor.toTypedArray() as Float32Array;

function sameMap(t: ExecutionContext, actual: Tensor, expected: Tensor, what: string) {
  const difference = maxDifference(values(actual), values(expected));
  t.true(difference <= 1e-5, `${what}: ${difference}`);
}

for (const subject of subjects) {
  test.serial(`${subject.name}: values from 0 to 1, whatever the input`, async (t) => {
    await using model = await loadSubject(subject, 'auto');
    const property = fc.asyncProperty(anyImage, fc.nat(subject.classes - 1), async (image, category) => {
      const batch = batchOf([image], subject);
      for (const method of methodsFor(subject)) {
        const { heatmaps } = await explain(subject, model, method, batch, { targets: category });
        t.deepEqual(heatmaps.shape, [1, ...subject.shape.slice(1)]);
        const wrong = values(heatmaps).find((value) => !(value >= 0 && value <= 1));
        t.is(wrong, undefined, method);
      }
    });
    await fc.assert(property, run(8));
  });

  test.serial(`${subject.name}: a batch is its images, in any order`, async (t) => {
    await using model = await loadSubject(subject, 'auto');
    const images = fc.array(noisyImage, { minLength: 2, maxLength: 3 });
    const property = fc.asyncProperty(images, fc.nat(subject.classes - 1), async (batch, category) => {
      const options = { targets: category };
      for (const method of methodsFor(subject)) {
        const together = await explain(subject, model, method, batchOf(batch, subject), options);
        const turned = await explain(subject, model, method, batchOf(batch.toReversed(), subject), options);
        for (const [index, image] of batch.entries()) {
          const alone = batchOf([image], subject);
          const plainly = await yardstick(
            pathOf(subject),
            async (how) => (await explain(subject, how.model, method, alone, options, false)).heatmaps,
          );
          const { heatmaps } = await explain(subject, model, method, alone, options);
          asCloseAs(t, `${method}, image ${index} alone`, heatmaps, plainly);
          asCloseAs(t, `${method}, image ${index}`, together.heatmaps.at(index), plainly);
          asCloseAs(t, `${method}, image ${index} turned`, turned.heatmaps.at(-1 - index), plainly);
        }
      }
    });
    await fc.assert(property, run(5));
  });
}

const { classes } = residual;
const fewClasses = fc.uniqueArray(fc.nat(classes - 1), { minLength: 2, maxLength: 3 });

test.serial('the order of targets changes the order of maps, and nothing else', async (t) => {
  await using model = await loadSubject(residual);
  const property = fc.asyncProperty(noisyImage, fewClasses, async (image, categories) => {
    const batch = batchOf([image], residual);
    const count = categories.length;
    for (const method of methodsFor(residual)) {
      const given = await explain(residual, model, method, batch, { targets: [categories] });
      const turned = await explain(residual, model, method, batch, { targets: [categories.toReversed()] });
      for (let index = 0; index < count; index++) {
        const what = `${method}, target ${index} of ${count}`;
        sameMap(t, turned.heatmaps.at(count - 1 - index), given.heatmaps.at(index), what);
      }
      t.deepEqual(
        given.maps.map((map) => map.classIndex).toReversed(),
        turned.maps.map((map) => map.classIndex),
      );
    }
  });
  await fc.assert(property, run(5));
});

// Grad-CAM++ is not among them: its coefficients are no longer proportional to the gradient. With one layer,
// because several are averaged after a scaling that, as upstream's, dims very weak maps by adding 1e-7 to
// the maximum.
const proportional: readonly MethodName[] = [
  'gradcam',
  'hirescam',
  'gradcamelementwise',
  'xgradcam',
  'layercam',
  'shapleycam',
  'eigengradcam',
  'segeigencam',
];

for (const subject of subjects.map((each) => ({ ...each, targetLayers: each.targetLayers.slice(-1) }))) {
  test.serial(`${subject.name}: logits times a positive factor leave the map as it is`, async (t) => {
    await using model = await loadSubject(subject);
    const factors = fc.double({ min: 0.02, max: 50, noNaN: true });
    const property = fc.asyncProperty(
      noisyImage,
      fc.nat(subject.classes - 1),
      factors,
      async (image, category, factor) => {
        const batch = batchOf([image], subject);
        const oneHot = (value: number) =>
          new VectorTarget(
            Array.from({ length: subject.classes }, (_, index) => (index === category ? value : 0)),
          );
        for (const method of proportional) {
          const plain = await explain(subject, model, method, batch, {
            targets: new ClassifierOutputTarget(category),
          });
          const scaled = await explain(subject, model, method, batch, { targets: oneHot(factor) });
          sameMap(t, scaled.heatmaps, plain.heatmaps, `${method} times ${factor}`);
        }
        // Else all of this could hold because the target does not count.
        const plain = await explain(subject, model, 'gradcam', batch, { targets: oneHot(1) });
        const opposite = await explain(subject, model, 'gradcam', batch, { targets: oneHot(-factor) });
        t.true(maxDifference(values(opposite.heatmaps), values(plain.heatmaps)) > 0.1);
      },
    );
    await fc.assert(property, run(8));
  });
}

test.serial('RandomCAM: equal seeds give equal maps, different seeds different maps', async (t) => {
  await using model = await loadSubject(residual);
  const seeds = fc.uniqueArray(fc.nat(), { minLength: 2, maxLength: 2 });
  const property = fc.asyncProperty(noisyImage, seeds, async (image, [one, other]) => {
    const mapOf = async (chosen: number | undefined) => {
      const options = { model, targetLayers: 'layer2.1', ...(chosen === undefined ? {} : { seed: chosen }) };
      return values((await new RandomCAM(options).explain(batchOf([image], residual))).heatmaps);
    };
    t.deepEqual(await mapOf(one), await mapOf(one));
    t.true(maxDifference(await mapOf(other), await mapOf(one)) > 0.01);
    t.deepEqual(await mapOf(undefined), await mapOf(0));
  });
  await fc.assert(property, run(15));
});

// Finite differences, in float64. First of the targets: whatever the target, its gradient at the layer is
// that of the outputs, weighted by the target's derivatives with respect to them, here from the formulas
// below.

const dot = (a: readonly number[], b: readonly number[]) =>
  a.reduce((sum, value, index) => sum + value * (b[index] ?? Number.NaN), 0);
const cosine = (a: readonly number[], b: readonly number[]) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
const probability = (outputs: readonly number[], category: number) =>
  1 / outputs.reduce((sum, output) => sum + Math.exp(output - (outputs[category] ?? Number.NaN)), 0);

type Formula = (outputs: readonly number[]) => number;

function targetsWithFormulas(category: number, vector: readonly number[]): [Target, Formula][] {
  const others = [0, 1, 2, 3, 4].filter((other) => other !== category).slice(0, 2);
  const own = (outputs: readonly number[]) => outputs[category] ?? Number.NaN;
  const finer: Formula = (outputs) => {
    const weights = others.map((other) => probability(outputs, other));
    const leads = others.map((other) => own(outputs) - 0.6 * (outputs[other] ?? Number.NaN));
    return dot(weights, leads) / weights.reduce((sum, weight) => sum + weight, 1e-9);
  };
  return [
    [new ClassifierOutputTarget(category), own],
    [new ClassifierOutputSoftmaxTarget(category), (outputs) => probability(outputs, category)],
    [
      new ClassifierOutputReST(category),
      (outputs) => own(outputs) + Math.log(probability(outputs, category)),
    ],
    [new RawScoresOutputTarget(), (outputs) => outputs.reduce((sum, output) => sum + output, 0)],
    [new FinerWeightedTarget(category, others, 0.6), finer],
    [new CosineSimilarityTarget(vector), (outputs) => cosine(outputs, vector)],
    [new DifferenceFromConceptTarget(vector), (outputs) => 1 - cosine(outputs, vector)],
  ];
}

function numericalGradient(formula: Formula, at: readonly number[]): Float64Array {
  const step = 1e-5;
  const moved = (index: number, by: number) => formula(at.with(index, (at[index] ?? Number.NaN) + by));
  return Float64Array.from(at, (_, index) => (moved(index, step) - moved(index, -step)) / (2 * step));
}

test.serial("targets have the gradients of their formulas' finite differences", async (t) => {
  await using model = await loadModel(fixturePath('family/resnet.pt'), { dtype: 'float64' });
  const cam = new HiResCAM({ model, targetLayers: 'layer1.0' });
  const vectors = fc.array(fc.integer({ min: 1, max: 8 }), { minLength: classes, maxLength: classes });
  const property = fc.asyncProperty(
    noisyImage,
    fc.nat(classes - 1),
    vectors,
    async (image, category, vector) => {
      const batch = batchOf([image], residual);
      const outputs = [...((await model.forward(batch)) as Tensor).toTypedArray()].map(Number);
      for (const [target, formula] of targetsWithFormulas(category, vector)) {
        const { heatmaps, scores } = await cam.explain(batch, { targets: target });
        const { name } = target.constructor;
        t.true(Math.abs((scores[0] ?? Number.NaN) - formula(outputs)) < 1e-6, name);
        const gradient = Tensor.from(numericalGradient(formula, outputs), [classes]);
        const expected = await cam.explain(batch, { targets: new VectorTarget(gradient) });
        sameMap(t, heatmaps, expected.heatmaps, `${name} of class ${category}`);
      }
    },
  );
  await fc.assert(property, run(8));
});

// Then of the walk back through the whole model. The layer `patch` maps each patch of 4 x 4 pixels by one
// matrix W and a bias, so Grad-CAM's map there, w * (W patch_p + bias) with w the mean of the gradients, is
// but for a constant the derivative of the score along the image that repeats patch p everywhere. Of a map
// from 0 to 1 neither that constant nor the scale is known; all differences between places have to be the
// same after one fit of both.

const transformers = [
  { file: 'vit.pt', height: 24, width: 24 },
  { file: 'vit-fused.pt', height: 24, width: 24 },
  { file: 'swin-tokens.pt', height: 24, width: 32 },
];

for (const { file, height, width } of transformers) {
  test.serial(`the gradient behind Grad-CAM is that of finite differences: ${file}`, async (t) => {
    await using model = await loadModel(fixturePath(`family/${file}`), { dtype: 'float64' });
    const cam = new GradCAM({ model, targetLayers: 'patch' });
    const shape = [3, height, width];
    const step = 1e-4;
    const columns = width / 4;
    const places = (height / 4) * columns;
    const property = fc.asyncProperty(fc.nat(), fc.nat(classes - 1), async (noiseSeed, category) => {
      const image = Float64Array.from(noise(sizeOf(shape), noiseSeed));
      const repeated = (place: number) => (_: number, index: number) => {
        const [channel, row, column] = [
          Math.floor(index / (height * width)),
          Math.floor(index / width),
          index,
        ];
        const inPatch = (Math.floor(place / columns) * 4 + ((row % height) % 4)) * width;
        return (
          image[channel * height * width + inPatch + (place % columns) * 4 + ((column % width) % 4)] ?? 0
        );
      };
      const moved = Array.from({ length: places }, (_, place) => image.map(repeated(place))).flatMap(
        (along) => [step, -step].map((by) => image.map((value, index) => value + by * (along[index] ?? 0))),
      );
      const stacked = Tensor.from(Float64Array.from(moved.flatMap((each) => [...each])), [
        2 * places,
        ...shape,
      ]);
      const outputs = ((await model.forward(stacked)) as Tensor).toTypedArray();
      const scoreOf = (row: number) => Number(outputs[row * classes + category]);
      const slopes = Array.from(
        { length: places },
        (_, place) => (scoreOf(2 * place) - scoreOf(2 * place + 1)) / (2 * step),
      );

      const batch = Tensor.from(image, [1, ...shape]);
      const map = values((await cam.explain(batch, { targets: category, upsample: false })).heatmaps);
      const hottest = map.indexOf(Math.max(...map));
      const positive = [...map.keys()].filter((place) => (map[place] ?? 0) > 0);
      t.true(positive.length > 3, 'a map with hardly any place would show nothing');
      const at = (list: ArrayLike<number>, place: number | undefined) => list[place ?? -1] ?? Number.NaN;
      const coldest = positive.reduce((a, b) => (at(map, b) < at(map, a) ? b : a));
      const scale = (at(map, hottest) - at(map, coldest)) / (at(slopes, hottest) - at(slopes, coldest));
      t.true(scale > 0);
      for (let place = 0; place < places; place++) {
        const expected = at(map, coldest) + scale * (at(slopes, place) - at(slopes, coldest));
        // A place without heat lies where the line is at zero or below.
        const difference = at(map, place) > 0 ? Math.abs(at(map, place) - expected) : Math.max(expected, 0);
        t.true(difference < 1e-5, `place ${place}: ${difference}`);
      }
    });
    await fc.assert(property, run(5));
  });
}
