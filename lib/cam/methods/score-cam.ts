import { argumentOutOfRange } from '../../errors/errors.js';
import { ownOptions } from '../../errors/options.js';
import { BaseCAM, type CAMOptions } from '../base-cam.js';

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

  /** @throws {RangeError} `ERR_OUT_OF_RANGE`, and all of {@link BaseCAM} */
  constructor(options: ScoreCAMOptions) {
    const { batchSize = 16, ...common } = ownOptions(options);
    super(common);
    this.method = { name: 'ScoreCAM', batchSize: checkBatchSize(batchSize) };
  }
}

/** @internal */
export function checkBatchSize(batchSize: unknown): number {
  if (!Number.isInteger(batchSize) || (batchSize as number) < 1 || (batchSize as number) > 65_536)
    throw argumentOutOfRange('batchSize', 'an integer from 1 to 65536', batchSize);
  return batchSize as number;
}
