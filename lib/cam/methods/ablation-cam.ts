import { ownOptions } from '../../errors/options.js';
import { BaseCAM, type CAMOptions } from '../base-cam.js';
import { readMethodOptions } from './method-options.js';

export interface AblationCAMOptions extends CAMOptions {
  /** Channels that are left out in one run of the model's tail, each in a row of its own. Default 64. */
  readonly batchSize?: number;
  /**
   * Share of the channels that is tried, those that lie most on the activation's first principal component; the others
   * count nothing. Default 1.
   */
  readonly ratioChannelsToAblate?: number;
}

/**
 * Ablation-CAM: a channel counts as much as the target's score drops, relatively, without it. Needs no gradients. The
 * model runs once up to the target layer, and from there on for batches of channels. S. Desai, H. G. Ramaswamy, 2020.
 */
export class AblationCAM extends BaseCAM {
  protected override readonly method: { name: 'AblationCAM'; batchSize: number; ratioToAblate: number };

  /** @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, and all of {@link BaseCAM} */
  constructor(options: AblationCAMOptions) {
    const { batchSize = 64, ratioChannelsToAblate = 1, ...common } = ownOptions(options);
    super(common);
    readMethodOptions('ablationcam', { batchSize, ratioChannelsToAblate });
    this.method = { name: 'AblationCAM', batchSize, ratioToAblate: ratioChannelsToAblate };
  }
}
