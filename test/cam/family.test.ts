import test from 'ava';
import {
  AblationCAM,
  type BaseCAM,
  type CAMOptions,
  FEM,
  FinerCAM,
  type OutputSelector,
  RefineCAM,
  type ReshapeTransform,
  ScoreCAM,
  setThreads,
  type TargetLike,
} from 'node-gradcam';
import { type FamilyTarget, familyPath, floatsOf, tensorOf, toTarget } from '../helpers/family.js';
import { readJson, type StoredArray } from '../helpers/fixtures.js';
import { closeToFloat64, type Way, ways } from '../helpers/float64-result.js';
import { camOf } from '../helpers/methods.js';
import { sharedModel } from '../helpers/shared-models.js';

// Every method, target, shape and smoothing against pytorch-grad-cam (or, where the case says so, a derivation by hand) in
// double precision: tools/fixtures/family.

interface FamilyCase {
  readonly name: string;
  readonly description: string;
  readonly method: string;
  readonly model: string;
  readonly input?: StoredArray;
  readonly inputs?: readonly StoredArray[];
  readonly inputDtype?: 'float16' | 'bfloat16';
  readonly targetLayers?: readonly string[];
  readonly targets: readonly (readonly (number | FamilyTarget)[])[] | null;
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
      closeToFloat64(t, name, heatmaps, floatsOf(heatmapsOf), {
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
