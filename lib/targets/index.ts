export {
  type CategoryMaskOptions,
  categoryMask,
  type PresentCategory,
  presentCategories,
} from './category-mask.js';
export {
  BinaryClassifierOutputTarget,
  ClassifierOutputReST,
  ClassifierOutputSoftmaxTarget,
  ClassifierOutputTarget,
  FinerWeightedTarget,
  RawScoresOutputTarget,
  SoftmaxOutputTarget,
  TopClassTarget,
} from './class-targets.js';
export {
  FasterRCNNBoxScoreTarget,
  SemanticSegmentationTarget,
  TorchScriptTarget,
} from './dense-targets.js';
export { type DetectedBox, detectedBoxes } from './detections.js';
export type { TargetFunction } from './function-target.js';
export { Target, type TargetLike, type Targets } from './target.js';
export {
  CosineSimilarityTarget,
  DifferenceFromConceptTarget,
  VectorTarget,
} from './vector-targets.js';
