import { ownOptions } from '../../errors/options.js';
import { BaseCAM, type CAMOptions } from '../base-cam.js';
import { readMethodOptions, refineBases } from './method-options.js';

export interface RefineCAMOptions extends CAMOptions {
  /** The method whose maps are refined. Default `'gradcam++'`. */
  readonly base?: keyof typeof refineBases;
}

/**
 * RefineCAM: the heatmaps of several layers multiplied, so that coarse maps of late layers select and sharp ones of
 * early layers refine. From pytorch-grad-cam.
 */
export class RefineCAM extends BaseCAM {
  protected override readonly method: { name: string; multiplyLayers: true };

  /** @throws {TypeError} `ERR_INVALID_ARG_TYPE`, and all of {@link BaseCAM} */
  constructor(options: RefineCAMOptions) {
    const { base = 'gradcam++', ...common } = ownOptions(options);
    super(common);
    readMethodOptions('refinecam', { base });
    this.method = { name: refineBases[base], multiplyLayers: true };
  }
}
