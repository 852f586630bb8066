import { invalidArgumentType } from '../../errors/errors.js';
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
import { readMethodOptions } from './method-options.js';
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

/**
 * What a method takes beside {@link CAMOptions}, by its name: of `'ablationcam'` `{ batchSize, ratioChannelsToAblate }`.
 * docs/methods.md lists them. Of those of {@link SmoothGradCAMPlusPlus} all but `noise`.
 */
export type MethodOptions<Name extends MethodName = MethodName> = Name extends MethodName
  ? keyof OwnOptions<Name> extends never
    ? Record<string, never>
    : OwnOptions<Name>
  : never;

type OwnOptions<Name extends MethodName> = Omit<
  ConstructorParameters<(typeof methods)[Name]>[0],
  keyof CAMOptions | 'noise'
>;

/**
 * The name of a method, refused unless there is one of it.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE` with all names
 * @internal
 */
export function checkMethodName(method: unknown, name = 'method'): MethodName {
  if (typeof method === 'string' && Object.hasOwn(methods, method)) return method as MethodName;
  throw invalidArgumentType(name, `one of '${methodNames.join("', '")}'`, method);
}

/** A method by its name, and what it takes beside {@link CAMOptions}, as callers, command lines and requests tell it. */
export interface MethodChoice {
  /** Default `'gradcam'`. */
  readonly method?: MethodName | undefined;
  /** Default: the method's own defaults. */
  readonly options?: MethodOptions | undefined;
}

/**
 * The method that was asked for, name and options checked. Needs no model, so that what is wrong can be told before one is
 * loaded.
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
 * @internal
 */
export function checkMethodChoice({ method = 'gradcam', options }: MethodChoice): {
  method: MethodName;
  options: MethodOptions;
} {
  const name = checkMethodName(method);
  return { method: name, options: readMethodOptions(name, options) };
}

/**
 * The CAM of a method and its options, checked.
 * @throws as {@link checkMethodChoice}, and as the constructor of the method
 * @internal
 */
export function createCam(common: CAMOptions, choice: MethodChoice = {}): BaseCAM {
  const { method, options } = checkMethodChoice(choice);
  const Method: new (options: CAMOptions) => BaseCAM = methods[method];
  return new Method({ ...common, ...options });
}
