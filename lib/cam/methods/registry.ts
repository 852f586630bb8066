import type { BaseCAM, CAMOptions } from '../base-cam.js';
import { AblationCAM } from './ablation-cam.js';
import { EigenCAM, EigenGradCAM, FEM, KPCACAM, RandomCAM, SegEigenCAM } from './activation-methods.js';
import { CAM } from './class-activation-mapping.js';
import { FinerCAM } from './finer-cam.js';
import { FullGrad } from './full-grad.js';
import {
  GradCAM,
  GradCAMElementWise,
  GradCAMPlusPlus,
  HiResCAM,
  LayerCAM,
  ShapleyCAM,
  XGradCAM,
} from './gradient-methods.js';
import { LeGrad } from './legrad.js';
import { RefineCAM } from './refine-cam.js';
import { ScoreCAM } from './score-cam.js';
import { SmoothGradCAMPlusPlus } from './smooth-grad-cam.js';

/** The methods by name, for what takes a method's name: the Explainer, the command line. */
export const methods = {
  gradcam: GradCAM,
  hirescam: HiResCAM,
  gradcamelementwise: GradCAMElementWise,
  'gradcam++': GradCAMPlusPlus,
  xgradcam: XGradCAM,
  layercam: LayerCAM,
  eigencam: EigenCAM,
  eigengradcam: EigenGradCAM,
  segeigencam: SegEigenCAM,
  kpcacam: KPCACAM,
  fem: FEM,
  fullgrad: FullGrad,
  'smoothgradcam++': SmoothGradCAMPlusPlus,
  scorecam: ScoreCAM,
  ablationcam: AblationCAM,
  shapleycam: ShapleyCAM,
  finercam: FinerCAM,
  refinecam: RefineCAM,
  legrad: LeGrad,
  cam: CAM,
  randomcam: RandomCAM,
} satisfies Record<string, new (options: CAMOptions) => BaseCAM>;

export type MethodName = keyof typeof methods;

/** The names of all methods. */
export const methodNames = Object.keys(methods) as MethodName[];
