/** Grad-CAM for TorchScript vision models. @packageDocumentation */
export { BaseCAM, type CAMOptions, type ExplainOptions, type TargetLayer } from './cam/base-cam.js';
export {
  type ExplainedLayer,
  type ExplainedMap,
  Explanation,
  type StageTimings,
} from './cam/explanation.js';
export { GradCAM } from './cam/grad-cam.js';
export { GradCamError, type GradCamErrorCode, type GradCamErrorDetails } from './errors.js';
export {
  type Device,
  type InspectedLayer,
  type Inspection,
  type Layer,
  type LoadModelOptions,
  loadModel,
  Model,
  type ModelInput,
  type SuggestedLayer,
} from './model.js';
export type { ModelOutput, OutputSelector } from './model-output.js';
export {
  ClassifierOutputTarget,
  Target,
  type TargetLike,
  type Targets,
  TopClassTarget,
} from './targets.js';
export { type DType, Tensor, type TensorData, type TensorLike } from './tensor.js';
