#pragma once

#include "core/torch.h"

namespace gradcam {

// Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2, without the final ReLU, which fuseLayers applies): the sum of
// the channels, each weighted by the mean of its gradient over space. [B, C, ...space] twice -> [B,
// ...space].
at::Tensor gradCam(const at::Tensor& activations, const at::Tensor& gradients);

}  // namespace gradcam
