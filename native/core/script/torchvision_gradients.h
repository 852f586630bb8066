#pragma once

namespace gradcam {

// torchvision's operators come with kernels that compute gradients, but since 0.28 it is torchvision's Python
// code that tells autograd of them. Where its library is loaded and autograd does not know, this does the
// same.
void registerTorchvisionGradients();

}  // namespace gradcam
