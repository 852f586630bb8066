import { BaseCAM } from '../base-cam.js';

// Methods that need one forward and one walk back per target. The formulas are in native/core/cam/cam_methods.cc.

/**
 * Grad-CAM: the sum of the target layer's channels, each weighted by the mean of its gradient, without what speaks
 * against the target. R. R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
 * Localization", 2017.
 * @example
 * const cam = new GradCAM({ model, targetLayers: ['layer4'] });
 * const { heatmaps } = await cam.explain(image.tensor, { targets: 281 });
 */
export class GradCAM extends BaseCAM {
  protected override readonly method = { name: 'GradCAM' };
}

/** HiResCAM: gradient times activation at each place. R. L. Draelos and L. Carin, 2020. */
export class HiResCAM extends BaseCAM {
  protected override readonly method = { name: 'HiResCAM' };
}

/** As HiResCAM, with what speaks against the target left out before the channels are summed. */
export class GradCAMElementWise extends BaseCAM {
  protected override readonly method = { name: 'GradCAMElementWise' };
}

/** Grad-CAM++: for several objects of one class in an image. A. Chattopadhay et al., 2018. */
export class GradCAMPlusPlus extends BaseCAM {
  protected override readonly method = { name: 'GradCAMPlusPlus' };
}

/** XGrad-CAM: gradients weighted by each place's share of the activation. R. Fu et al., 2020. */
export class XGradCAM extends BaseCAM {
  protected override readonly method = { name: 'XGradCAM' };
}

/** LayerCAM: each place weighted by its own positive gradient; sharp at early layers too. P. Jiang et al., 2021. */
export class LayerCAM extends BaseCAM {
  protected override readonly method = { name: 'LayerCAM' };
}

/**
 * ShapleyCAM: Grad-CAM with the gradient corrected by the curvature of the score (a Hessian-vector product). Equal to
 * Grad-CAM where the score is linear in the activation; use it with {@link ClassifierOutputReST}. H. Cai, 2025.
 */
export class ShapleyCAM extends BaseCAM {
  protected override readonly method = { name: 'ShapleyCAM' };
}
