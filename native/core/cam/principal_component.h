#pragma once

#include "core/torch.h"

namespace gradcam {

// pytorch-grad-cam's get_2d_projection for any number of spatial axes: each image's positions, as vectors of
// channels minus their mean, projected on their first principal component. [B, C, ...space] -> [B, ...space].
// NaN counts as 0. The component's sign, which the decomposition leaves open, makes the projection of largest
// magnitude positive. By way of the smaller of the two Gram matrices.
at::Tensor firstPrincipalProjection(const at::Tensor& activations);

// The same with the kernel tanh(x . y / channels + 1) (pytorch-grad-cam's KernelPCA with sigmoid kernel).
at::Tensor firstKernelPrincipalProjection(const at::Tensor& activations);

}  // namespace gradcam
