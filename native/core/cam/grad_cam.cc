#include "core/cam/grad_cam.h"

namespace gradcam {

at::Tensor gradCam(const at::Tensor& activations, const at::Tensor& gradients) {
  const at::Tensor channelWeights = gradients.flatten(2).mean(2);                            // [B, C]
  const at::Tensor weighted = at::bmm(channelWeights.unsqueeze(1), activations.flatten(2));  // [B, 1, space]
  return weighted.view_as(activations.select(1, 0));
}

}  // namespace gradcam
