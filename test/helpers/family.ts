import {
  BinaryClassifierOutputTarget,
  ClassifierOutputReST,
  ClassifierOutputSoftmaxTarget,
  CosineSimilarityTarget,
  DifferenceFromConceptTarget,
  FasterRCNNBoxScoreTarget,
  FinerWeightedTarget,
  RawScoresOutputTarget,
  SemanticSegmentationTarget,
  SoftmaxOutputTarget,
  type TargetFunction,
  type TargetLike,
  Tensor,
  TorchScriptTarget,
  VectorTarget,
} from 'node-gradcam';
import { readArray, type StoredArray } from './fixtures.js';
import { functionTargets } from './function-targets.js';
import { fixturePath } from './root.js';

// test/fixtures/family, which tools/fixtures/family wrote.

/** A target as a case has it. */
export interface FamilyTarget {
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

export function familyPath(name: string): string {
  return fixturePath(`family/${name}`);
}

export function floatsOf(stored: StoredArray): Float32Array {
  return Float32Array.from(readArray({ ...stored, file: `family/${stored.file}` }));
}

export function tensorOf(stored: StoredArray): Tensor {
  return Tensor.from(floatsOf(stored), stored.shape);
}

export async function toTarget(spec: number | FamilyTarget): Promise<TargetLike> {
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
      return new VectorTarget(floatsOf(vector as StoredArray));
    case 'CosineSimilarityTarget':
      return new CosineSimilarityTarget(floatsOf(vector as StoredArray));
    case 'DifferenceFromConceptTarget':
      return new DifferenceFromConceptTarget(floatsOf(vector as StoredArray));
    case 'SemanticSegmentationTarget':
      return new SemanticSegmentationTarget(category, tensorOf(mask as StoredArray));
    case 'FasterRCNNBoxScoreTarget': {
      const values = [...floatsOf(boundingBoxes as StoredArray)];
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
