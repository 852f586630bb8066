import { invalidArgumentType } from '../../errors/errors.js';
import { ownOptions } from '../../errors/options.js';
import { BaseCAM, type CAMOptions } from '../base-cam.js';

const bases = {
  gradcam: 'GradCAM',
  'gradcam++': 'GradCAMPlusPlus',
  hirescam: 'HiResCAM',
  xgradcam: 'XGradCAM',
  layercam: 'LayerCAM',
} as const;

export interface RefineCAMOptions extends CAMOptions {
  /** The method whose maps are refined. Default `'gradcam++'`. */
  readonly base?: keyof typeof bases;
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
    if (!Object.hasOwn(bases, base))
      throw invalidArgumentType('base', `one of '${Object.keys(bases).join("', '")}'`, base);
    this.method = { name: bases[base], multiplyLayers: true };
  }
}
