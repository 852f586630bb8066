import { ownOptions } from '../../errors/options.js';
import { BaseCAM, type CAMOptions } from '../base-cam.js';
import { readMethodOptions } from './method-options.js';

export interface ScoreCAMOptions extends CAMOptions {
  /** Masked copies of an image in one run of the model. Default 16. */
  readonly batchSize?: number;
}

/**
 * Score-CAM: a channel counts as much as the target's score rises when the image is seen through it. Needs no
 * gradients, but one forward per channel of the target layer. H. Wang et al., 2020.
 */
export class ScoreCAM extends BaseCAM {
  protected override readonly method: { name: 'ScoreCAM'; batchSize: number };

  /** @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, and all of {@link BaseCAM} */
  constructor(options: ScoreCAMOptions) {
    const { batchSize = 16, ...common } = ownOptions(options);
    super(common);
    readMethodOptions('scorecam', { batchSize });
    this.method = { name: 'ScoreCAM', batchSize };
  }
}
