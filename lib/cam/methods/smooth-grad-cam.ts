import { ownOptions } from '../../errors/options.js';
import { Tensor, type TensorLike } from '../../tensor/tensor.js';
import { BaseCAM, type CAMOptions } from '../base-cam.js';
import { readMethodOptions } from './method-options.js';

export interface SmoothGradCAMPlusPlusOptions extends CAMOptions {
  /** Noisy copies of the input. Default 4. */
  readonly samples?: number;
  /** Standard deviation of the noise, in units of the (normalised) input. Default 0.3. */
  readonly std?: number;
  /** Equal seeds give equal noise. Default 0. */
  readonly seed?: number;
  /** The noise itself instead, `[samples, B, C, H, W]`. */
  readonly noise?: TensorLike;
}

/**
 * Smooth Grad-CAM++: Grad-CAM++ with the powers of the gradient averaged over noisy copies of the input, on the
 * activations of the input itself. D. Omeiza et al., 2019.
 */
export class SmoothGradCAMPlusPlus extends BaseCAM {
  protected override readonly method;

  /** @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, and all of {@link BaseCAM} */
  constructor(options: SmoothGradCAMPlusPlusOptions) {
    const { samples = 4, std = 0.3, seed = 0, noise, ...common } = ownOptions(options);
    super(common);
    readMethodOptions('smoothgradcam++', { samples, std, seed });
    const given = noise === undefined ? {} : { noise: Tensor.reference(Tensor.fromLike(noise, 'noise')) };
    this.method = { name: 'SmoothGradCAMPlusPlus', samples, deviation: std, seed, ...given };
  }
}
