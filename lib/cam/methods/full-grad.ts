import { BaseCAM } from '../base-cam.js';

/**
 * FullGrad: the input times its gradient, plus of every convolution and BatchNorm the bias times its gradient. Sees the
 * whole network, so it has no target layer (`targetLayers` is ignored); for models whose biases are in such layers.
 * With `eigenSmooth` the terms are projected on their first principal component, at an eighth of the size, instead of
 * being added up, as in pytorch-grad-cam. S. Srinivas, F. Fleuret, 2019.
 */
export class FullGrad extends BaseCAM {
  /** @internal */
  static override readonly shareable = false;

  /** @internal */
  static override readonly needsLayers = false;

  protected override readonly method = { name: 'FullGrad' };
}
