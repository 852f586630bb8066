import { BaseCAM } from './base-cam.js';

/**
 * Grad-CAM (Selvaraju et al. 2017): the channels of the target layer, each weighted by the mean of its gradient over
 * space, summed; only what speaks for the target is kept. Equals pytorch-grad-cam's `GradCAM`.
 * @example
 * await using model = await loadModel('resnet50.pt');
 * const cam = new GradCAM({ model, targetLayers: ['layer4'] });
 * const { heatmaps } = await cam.explain(image.tensor, { targets: 281 });
 */
export class GradCAM extends BaseCAM {
  /** @internal */
  protected override readonly method = 'gradcam';
}
