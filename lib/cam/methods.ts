import type { BaseCAM, CAMOptions } from './base-cam.js';
import { GradCAM } from './grad-cam.js';

/** The methods by name, for what takes a method's name: the Explainer, the command line. */
export const methods = {
  gradcam: GradCAM,
} satisfies Record<string, new (options: CAMOptions) => BaseCAM>;

export type MethodName = keyof typeof methods;
