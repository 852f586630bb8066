/** Grad-CAM for TorchScript vision models. @packageDocumentation */

export {
  type AttributedMap,
  type AttributeOptions,
  Attribution,
  type AttributionOptions,
  InputAttribution,
} from './attribution/attribution.js';
export { GuidedBackprop, Saliency } from './attribution/gradient-attributions.js';
export { guidedGradCam } from './attribution/guided-grad-cam.js';
export { IntegratedGradients, type IntegratedGradientsOptions } from './attribution/integrated-gradients.js';
export { AblationCAM, type AblationCAMOptions } from './cam/ablation-cam.js';
export {
  EigenCAM,
  EigenGradCAM,
  FEM,
  type FEMOptions,
  KPCACAM,
  RandomCAM,
  type RandomCAMOptions,
  SegEigenCAM,
} from './cam/activation-methods.js';
export { type Augmentation, BaseCAM, type CAMOptions, type ExplainOptions } from './cam/base-cam.js';
export { CAM, type ClassActivationMappingOptions } from './cam/class-activation-mapping.js';
export { type CompareMethodsOptions, compareMethods } from './cam/compare-methods.js';
export {
  DeepFeatureFactorization,
  type DeepFeatureFactorizationOptions,
  type FactorizedFeatures,
  type FactorizeOptions,
} from './cam/deep-feature-factorization.js';
export {
  type ExplainedLayer,
  type ExplainedMap,
  Explanation,
  type StageTimings,
} from './cam/explanation.js';
export { FinerCAM, type FinerCAMOptions } from './cam/finer-cam.js';
export { FullGrad } from './cam/full-grad.js';
export {
  GradCAM,
  GradCAMElementWise,
  GradCAMPlusPlus,
  HiResCAM,
  LayerCAM,
  ShapleyCAM,
  XGradCAM,
} from './cam/gradient-methods.js';
export { LeGrad } from './cam/legrad.js';
export { type MethodName, methodNames } from './cam/methods.js';
export { RefineCAM, type RefineCAMOptions } from './cam/refine-cam.js';
export type { ReshapeTransform } from './cam/reshape-transform.js';
export { ScoreCAM, type ScoreCAMOptions } from './cam/score-cam.js';
export { SmoothGradCAMPlusPlus, type SmoothGradCAMPlusPlusOptions } from './cam/smooth-grad-cam.js';
export type { TargetLayer } from './cam/target-layers.js';
export { ClipExplainer, type ClipExplainerOptions, type ClipExplainOptions } from './clip/clip-explainer.js';
export { ClipExplanation } from './clip/clip-explanation.js';
export { ClipTokenizer, type TokenizeOptions } from './clip/tokenizer.js';
export type {
  ExplainBatchMessage,
  ExplainEndMessage,
  ExplainErrorMessage,
  ExplainFacts,
  ExplainStartMessage,
} from './diagnostics.js';
export { type DoctorReport, doctor } from './doctor.js';
export { GradCamError, type GradCamErrorCode, type GradCamErrorDetails } from './errors.js';
export {
  type ExplainStreamOptions,
  type Explains,
  explainStream,
  type Prepared,
  type StreamedExplanation,
  type StreamedFailure,
} from './explainer/explain-stream.js';
export { Explainer, type ExplainerOptions } from './explainer/explainer.js';
export type { ExplainerCounters } from './explainer/statistics.js';
export type { Fit, ImageGeometry, ImageSize } from './image/geometry.js';
export type { ChannelOrder, Interpolation, LoadImageOptions } from './image/image-options.js';
export { type LoadedImage, loadImage } from './image/load-image.js';
export type { OriginalPhoto } from './image/original-photo.js';
export { findClass } from './labels.js';
export { type Device, type LoadModelOptions, loadModel, type PreflightOptions } from './load-model.js';
export * from './metrics/index.js';
export {
  type InspectedLayer,
  type Inspection,
  type Layer,
  Model,
  type ModelInput,
  type ModelStatistics,
  type ModelWarning,
  type RunOptions,
  type SuggestedLayer,
  type Weight,
} from './model.js';
export type { ModelArgument, ModelArguments } from './model-arguments.js';
export type { ModelOutput, OutputSelector } from './model-output.js';
export { loadModelWithSidecar, ModelWithSidecar } from './model-with-sidecar.js';
export type { TorchvisionLibrary } from './operator-libraries.js';
export { describePlan, type PlanDescription } from './plan.js';
export type { Scores } from './scores.js';
export { imageOptions, loadSidecar, type Sidecar, sidecarPath } from './sidecar.js';
export * from './targets/index.js';
export { type DType, type ReductionOptions, Tensor, type TensorData, type TensorLike } from './tensor.js';
export { type TensorJson, tensorToJson, tensorToNpy, writeTensor } from './tensor-files.js';
export { setThreads, type ThreadOptions, threads } from './threads.js';
export * from './visualization/index.js';
