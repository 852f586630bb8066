import { ownOptions } from '../../errors/options.js';
import { BaseCAM, type CAMOptions } from '../base-cam.js';
import { readMethodOptions } from './method-options.js';

// Methods that project or select activations. The formulas are in native/core/cam/cam_methods.cc.

/** Eigen-CAM: the activations on their first principal component; knows no class. M. B. Muhammad, M. Yeasin, 2020. */
export class EigenCAM extends BaseCAM {
  protected override readonly method = { name: 'EigenCAM' };
}

/** Eigen-CAM of gradient times activation: with a class. From pytorch-grad-cam. */
export class EigenGradCAM extends BaseCAM {
  protected override readonly method = { name: 'EigenGradCAM' };
}

/** Eigen-CAM of the gradient's magnitude times the activation, made for segmentation. From pytorch-grad-cam. */
export class SegEigenCAM extends BaseCAM {
  protected override readonly method = { name: 'SegEigenCAM' };
}

/** KPCA-CAM: the activations on their first kernel principal component (sigmoid kernel). S. Karmani et al., 2024. */
export class KPCACAM extends BaseCAM {
  protected override readonly method = { name: 'KPCACAM' };
}

export interface FEMOptions extends CAMOptions {
  /** How many standard deviations above its mean a channel counts as strong. Default 2. */
  readonly k?: number;
}

/** FEM: channels weighted by the share of places where they are unusually strong. K. A. A. Fuad et al., 2020. */
export class FEM extends BaseCAM {
  protected override readonly method: { name: 'FEM'; femDeviations: number };

  /** @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, and all of {@link BaseCAM} */
  constructor(options: FEMOptions) {
    const { k = 2, ...common } = ownOptions(options);
    super(common);
    readMethodOptions('fem', { k });
    this.method = { name: 'FEM', femDeviations: k };
  }
}

export interface RandomCAMOptions extends CAMOptions {
  /** Equal seeds give equal maps. Default 0. */
  readonly seed?: number;
}

/** Channels weighted by chance, between -1 and 1: what every other method has to beat. */
export class RandomCAM extends BaseCAM {
  protected override readonly method: { name: 'RandomCAM'; seed: number };

  /** @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, and all of {@link BaseCAM} */
  constructor(options: RandomCAMOptions) {
    const { seed = 0, ...common } = ownOptions(options);
    super(common);
    readMethodOptions('randomcam', { seed });
    this.method = { name: 'RandomCAM', seed };
  }
}
