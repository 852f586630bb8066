import { GradCamError } from '../../errors/errors.js';
import { BaseCAM } from '../base-cam.js';
import type { ExplainArguments } from '../explain-arguments.js';

/**
 * LeGrad, for vision transformers: the positive gradient of the score with respect to every attention, averaged over
 * heads, queries and layers. No target layer is needed; `reshapeTransform: { kind: 'tokens', prefixTokens, grid }` tells
 * which tokens are the image's, where that is not one square grid behind what is left over. Attention that PyTorch fuses
 * is written out in a copy of the graph. W. Bousselham et al., "LeGrad", 2024, with the model's own score at every layer.
 * `explain()` throws `ERR_UNSUPPORTED` where the model has no attention, and with `eigenSmooth`.
 */
export class LeGrad extends BaseCAM {
  /** @internal */
  static override readonly shareable = false;

  /** @internal */
  static override readonly needsLayers = false;

  protected override readonly method = { name: 'LeGrad' };

  /** @internal */
  protected override checkArguments({ eigenSmooth }: Omit<ExplainArguments, 'inputs'>): void {
    if (eigenSmooth)
      throw new GradCamError(
        'ERR_UNSUPPORTED',
        'LeGrad has no eigenSmooth: there are no channels to project.',
      );
  }
}
