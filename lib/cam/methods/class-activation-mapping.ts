import { ownOptions } from '../../errors/options.js';
import { BaseCAM, type CAMOptions } from '../base-cam.js';
import { readMethodOptions } from './method-options.js';

export interface ClassActivationMappingOptions extends CAMOptions {
  /**
   * Path of the linear layer that follows the pooling, such as `'fc'`. Default: found, as the one that makes the model's
   * output of the target layer's mean over space.
   */
  readonly linear?: string;
}

/**
 * CAM, the first of its kind: for models whose target layer is pooled over space and then classified by one linear
 * layer, the channels weighted by that layer. Equals Grad-CAM there, without gradients. For other models `explain()`
 * throws `ERR_UNSUPPORTED`, unless `linear` names a layer. B. Zhou et al., 2016, eq. 2.
 */
export class CAM extends BaseCAM {
  protected override readonly method: { name: 'CAM'; linear: string };

  /** @throws {TypeError} `ERR_INVALID_ARG_TYPE`, and all of {@link BaseCAM} */
  constructor(options: ClassActivationMappingOptions) {
    const { linear = '', ...common } = ownOptions(options);
    super(common);
    readMethodOptions('cam', { linear });
    this.method = { name: 'CAM', linear };
  }
}
