import { GradCamError } from '../errors.js';
import type { ModelInput } from '../model.js';
import { BaseCAM, type ExplainOptions } from './base-cam.js';
import type { Explanation } from './explanation.js';

/**
 * FullGrad: the input times its gradient, plus of every convolution and BatchNorm the bias times its gradient. Sees the
 * whole network, so it has no target layer (`targetLayers` is ignored); for
 * models whose biases are in such layers. S. Srinivas, F. Fleuret, 2019.
 */
export class FullGrad extends BaseCAM {
  /** @internal */
  static override readonly shareable = false;

  /** @internal */
  static override readonly needsLayers = false;

  protected override readonly method = { name: 'FullGrad' };

  override async explain(input: ModelInput, options?: ExplainOptions): Promise<Explanation> {
    if (options?.augSmooth || options?.eigenSmooth)
      throw new GradCamError('ERR_UNSUPPORTED', 'FullGrad has neither augSmooth nor eigenSmooth.');
    return await super.explain(input, options);
  }
}
