import test from 'ava';
import {
  AblationCAM,
  type BaseCAM,
  BinaryClassifierOutputTarget,
  type CAMOptions,
  ClassifierOutputReST,
  ClassifierOutputSoftmaxTarget,
  CosineSimilarityTarget,
  DifferenceFromConceptTarget,
  FasterRCNNBoxScoreTarget,
  FEM,
  FinerCAM,
  FinerWeightedTarget,
  type OutputSelector,
  RawScoresOutputTarget,
  RefineCAM,
  type ReshapeTransform,
  ScoreCAM,
  SemanticSegmentationTarget,
  SoftmaxOutputTarget,
  setThreads,
  type TargetFunction,
  type TargetLike,
  Tensor,
  TorchScriptTarget,
  VectorTarget,
} from 'node-gradcam';
import { readArray, readJson, type StoredArray } from '../helpers/fixtures.js';
import { closeToFloat64, type Way, ways } from '../helpers/float64-result.js';
import { functionTargets } from '../helpers/function-targets.js';
import { camOf } from '../helpers/methods.js';
import { fixturePath } from '../helpers/root.js';
import { sharedModel } from '../helpers/shared-models.js';

// Every method, target, shape and smoothing against pytorch-grad-cam (or, where the case says so, a derivation by hand) in
// double precision: tools/fixtures/family.

interface TargetSpec {
  readonly kind: string;
  readonly category?: number;
  readonly mainCategory?: number;
  readonly comparisonCategories?: number[];
  readonly alpha?: number;
  readonly vector?: StoredArray;
  readonly mask?: StoredArray;
  readonly labels?: number[];
  readonly boundingBoxes?: StoredArray;
  readonly iouThreshold?: number;
  readonly module?: string;
  readonly name?: string;
}

interface FamilyCase {
  readonly name: string;
  readonly description: string;
  readonly method: string;
  readonly model: string;
  readonly input?: StoredArray;
  readonly inputs?: readonly StoredArray[];
  readonly inputDtype?: 'float16' | 'bfloat16';
  readonly targetLayers?: readonly string[];
  readonly targets: readonly (readonly (number | TargetSpec)[])[] | null;
  readonly output?: OutputSelector;
  readonly options?: Readonly<Record<string, unknown>>;
  readonly expected: { readonly heatmaps?: StoredArray; readonly scores?: readonly number[] };
  readonly referenceError: Readonly<Record<'heatmaps' | 'scores', number>>;
}

const { cases } = readJson<{ cases: readonly FamilyCase[] }>('family/golden.json');

// The models are so small that threads would only wait for each other.
setThreads({ intraOpThreads: 1 });

/** Methods without options of their own. */
const plain = [
  'GradCAM',
  'HiResCAM',
  'GradCAMElementWise',
  'GradCAMPlusPlus',
  'XGradCAM',
  'LayerCAM',
  'ShapleyCAM',
  'EigenCAM',
  'EigenGradCAM',
  'SegEigenCAM',
  'KPCACAM',
];
const constructors: Record<string, (options: CAMOptions, how: Record<string, unknown>) => BaseCAM> = {
  ...Object.fromEntries(plain.map((name) => [name, (options: CAMOptions) => camOf(name, options)])),
  FEM: (options, { k }) => new FEM(k === undefined ? options : { ...options, k: k as number }),
  ScoreCAM: (options, { batchSize }) => new ScoreCAM({ ...options, batchSize: Number(batchSize ?? 16) }),
  AblationCAM: (options, { batchSize, ratioChannelsToAblate }) =>
    new AblationCAM({
      ...options,
      batchSize: Number(batchSize ?? 64),
      ratioChannelsToAblate: Number(ratioChannelsToAblate ?? 1),
    }),
  FinerCAM: (options, { alpha, comparisonCategories, baseMethod }) =>
    new FinerCAM({
      ...options,
      base: baseName(baseMethod, 'gradcam'),
      alpha: Number(alpha ?? 1),
      comparisonCategories: (comparisonCategories as number[] | undefined) ?? [1, 2, 3],
    }),
  RefineCAM: (options, { baseMethod }) =>
    new RefineCAM({ ...options, base: baseName(baseMethod, 'gradcam++') }),
};

function baseName<Default extends string>(baseMethod: unknown, otherwise: Default) {
  const names = { GradCAM: 'gradcam', GradCAMPlusPlus: 'gradcam++', LayerCAM: 'layercam' } as const;
  return names[baseMethod as keyof typeof names] ?? (otherwise as 'gradcam');
}

const familyPath = (name: string) => fixturePath(`family/${name}`);
const inFamily = (stored: StoredArray) => ({ ...stored, file: `family/${stored.file}` });
const floats = (stored: StoredArray) => Float32Array.from(readArray(inFamily(stored)));
const tensorOf = (stored: StoredArray) => Tensor.from(floats(stored), stored.shape);

async function toTarget(spec: number | TargetSpec): Promise<TargetLike> {
  if (typeof spec === 'number') return spec;
  const { kind, category = 0, vector, mask, boundingBoxes } = spec;
  switch (kind) {
    case 'ClassifierOutputSoftmaxTarget':
      return new ClassifierOutputSoftmaxTarget(category);
    case 'ClassifierOutputReST':
      return new ClassifierOutputReST(category);
    case 'BinaryClassifierOutputTarget':
      return new BinaryClassifierOutputTarget(category as 0 | 1);
    case 'RawScoresOutputTarget':
      return new RawScoresOutputTarget();
    case 'SoftmaxOutputTarget':
      return new SoftmaxOutputTarget();
    case 'FinerWeightedTarget':
      return new FinerWeightedTarget(spec.mainCategory ?? 0, spec.comparisonCategories ?? [], spec.alpha);
    case 'VectorTarget':
      return new VectorTarget(floats(vector as StoredArray));
    case 'CosineSimilarityTarget':
      return new CosineSimilarityTarget(floats(vector as StoredArray));
    case 'DifferenceFromConceptTarget':
      return new DifferenceFromConceptTarget(floats(vector as StoredArray));
    case 'SemanticSegmentationTarget':
      return new SemanticSegmentationTarget(category, tensorOf(mask as StoredArray));
    case 'FasterRCNNBoxScoreTarget': {
      const values = [...floats(boundingBoxes as StoredArray)];
      const boxes = (spec.labels ?? []).map((_, index) => values.slice(index * 4, index * 4 + 4));
      return new FasterRCNNBoxScoreTarget(spec.labels ?? [], boxes, spec.iouThreshold);
    }
    case 'function':
      return functionTargets[spec.name as string] as TargetFunction;
    case 'TorchScriptTarget':
      return await TorchScriptTarget.load(familyPath(spec.module as string));
    default:
      throw new Error(`A fixture with an unknown target: ${kind}`);
  }
}

async function explain(golden: FamilyCase, { optimize, dtype }: Way) {
  const model = await sharedModel(
    familyPath(golden.model),
    dtype === 'auto' && golden.inputDtype ? golden.inputDtype : dtype,
  );
  const { reshapeTransform, augSmooth, eigenSmooth, targetClass, ...how } = golden.options ?? {};
  const cam = (constructors[golden.method] as (typeof constructors)[string])(
    {
      model,
      targetLayers: [...(golden.targetLayers ?? [])],
      optimize,
      ...(golden.output === undefined ? {} : { output: golden.output }),
      ...(reshapeTransform ? { reshapeTransform: reshapeTransform as ReshapeTransform } : {}),
    },
    how,
  );
  const inputs = (golden.inputs ?? [golden.input as StoredArray]).map(tensorOf);
  let targets: TargetLike[][] | undefined;
  if (targetClass !== undefined) targets = [[targetClass as number]];
  else if (golden.targets !== null)
    targets = await Promise.all(golden.targets.map((ofImage) => Promise.all(ofImage.map(toTarget))));
  return await cam.explain(inputs, {
    ...(targets ? { targets } : {}),
    augSmooth: (augSmooth as boolean | undefined) ?? false,
    eigenSmooth: (eigenSmooth as boolean | undefined) ?? false,
  });
}

const explained = cases.filter((golden) => golden.method in constructors && golden.expected.heatmaps);
for (const golden of explained) {
  test(`${golden.name}: ${golden.description}`, async (t) => {
    for (const way of ways) {
      const { heatmaps, scores } = await explain(golden, way);
      const { expected, referenceError } = golden;
      const name = JSON.stringify(way);
      const heatmapsOf = expected.heatmaps as StoredArray;
      t.deepEqual([...heatmaps.shape], [...heatmapsOf.shape]);
      closeToFloat64(t, name, heatmaps, floats(heatmapsOf), {
        referenceError: referenceError.heatmaps,
        dtype: way.dtype,
      });
      if (expected.scores) {
        closeToFloat64(t, `scores, ${name}`, scores, expected.scores, {
          referenceError: referenceError.scores,
          dtype: way.dtype,
        });
      }
    }
  });
}
