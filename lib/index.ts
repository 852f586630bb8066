/** Grad-CAM for PyTorch vision models: exported programs and TorchScript. @packageDocumentation */

export { type DoctorReport, doctor } from './addon/doctor.js';
export type { TorchvisionLibrary } from './addon/operator-libraries.js';
export type { StageTimings } from './addon/reports.js';
export { setThreads, type ThreadOptions, threads } from './addon/threads.js';
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
export { BaseCAM, type CAMOptions } from './cam/base-cam.js';
export type { Augmentation, ExplainOptions } from './cam/explain-arguments.js';
export {
  type ExplainedLayer,
  type ExplainedMap,
  Explanation,
} from './cam/explanation.js';
export { AblationCAM, type AblationCAMOptions } from './cam/methods/ablation-cam.js';
export {
  EigenCAM,
  EigenGradCAM,
  FEM,
  type FEMOptions,
  KPCACAM,
  RandomCAM,
  type RandomCAMOptions,
  SegEigenCAM,
} from './cam/methods/activation-methods.js';
export { CAM, type ClassActivationMappingOptions } from './cam/methods/class-activation-mapping.js';
export { type CompareMethodsOptions, compareMethods } from './cam/methods/compare.js';
export { FinerCAM, type FinerCAMOptions } from './cam/methods/finer-cam.js';
export { FullGrad } from './cam/methods/full-grad.js';
export {
  GradCAM,
  GradCAMElementWise,
  GradCAMPlusPlus,
  HiResCAM,
  LayerCAM,
  ShapleyCAM,
  XGradCAM,
} from './cam/methods/gradient-methods.js';
export { LeGrad } from './cam/methods/legrad.js';
export { RefineCAM, type RefineCAMOptions } from './cam/methods/refine-cam.js';
export { type MethodName, type MethodOptions, methodNames } from './cam/methods/registry.js';
export { ScoreCAM, type ScoreCAMOptions } from './cam/methods/score-cam.js';
export { SmoothGradCAMPlusPlus, type SmoothGradCAMPlusPlusOptions } from './cam/methods/smooth-grad-cam.js';
export { ClipExplainer, type ClipExplainerOptions, type ClipExplainOptions } from './clip/explainer.js';
export { ClipExplanation } from './clip/explanation.js';
export { ClipTokenizer, type TokenizeOptions } from './clip/tokenizer.js';
export { GradCamError, type GradCamErrorCode, type GradCamErrorDetails } from './errors/errors.js';
export {
  type ExplainStreamOptions,
  type Explains,
  explainStream,
  type Prepared,
  type StreamedExplanation,
  type StreamedFailure,
} from './explainer/explain-stream.js';
export {
  type CamExplainerOptions,
  Explainer,
  type ExplainerLimits,
  type ExplainerOptions,
} from './explainer/explainer.js';
export type { ExplainerCounters } from './explainer/statistics.js';
export {
  DeepFeatureFactorization,
  type DeepFeatureFactorizationOptions,
  type FactorizedFeatures,
  type FactorizeOptions,
} from './factorization/deep-feature-factorization.js';
export type { Fit, ImageGeometry, ImageSize } from './image/geometry.js';
export { type ImageSource, type LoadedImage, loadImage } from './image/load-image.js';
export type { ChannelOrder, Interpolation, LoadImageOptions } from './image/options.js';
export type { OriginalPhoto } from './image/original-photo.js';
export * from './metrics/index.js';
export type { ModelArgument, ModelArguments } from './model/arguments.js';
export { type ConvertModelOptions, convertModel } from './model/convert-model.js';
export type {
  ExplainBatchMessage,
  ExplainEndMessage,
  ExplainErrorMessage,
  ExplainFacts,
  ExplainStartMessage,
} from './model/diagnostics.js';
export { type Device, type LoadModelOptions, loadModel, type PreflightOptions } from './model/load-model.js';
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
  type WarmUpOptions,
  type Weight,
} from './model/model.js';
export type { ModelOutput, OutputSelector } from './model/output.js';
export { describePlan, type PlanDescription } from './model/plan.js';
export type { ReshapeTransform } from './model/reshape-transform.js';
export type { Scores } from './model/scores.js';
export type { TargetLayer } from './model/target-layers.js';
export { findClass } from './sidecar/labels.js';
export { loadModelWithSidecar, ModelWithSidecar } from './sidecar/model-with-sidecar.js';
export { imageOptions, loadSidecar, type Sidecar, sidecarPath } from './sidecar/sidecar.js';
export * from './targets/index.js';
export { type TensorJson, tensorToJson, tensorToNpy, writeTensor } from './tensor/files.js';
export {
  type DType,
  type ReductionOptions,
  Tensor,
  type TensorData,
  type TensorLike,
} from './tensor/tensor.js';
export * from './visualization/index.js';
