#pragma once

#include "core/process/torch.h"

namespace gradcam {

// pytorch-grad-cam's get_2d_projection for any number of spatial axes: each image's positions, as vectors of
// channels minus their mean, projected on their first principal component. [B, C, ...space] -> [B, ...space].
// NaN counts as 0. The component's sign, which the decomposition leaves open, makes the projection of largest
// magnitude positive. By way of the smaller of the two Gram matrices, of which only the leading eigenvector
// is computed.
at::Tensor firstPrincipalProjection(const at::Tensor& activations);

// The same with the kernel tanh(x . y / channels + 1) (pytorch-grad-cam's KernelPCA with sigmoid kernel).
// Takes 4 n^2 bytes for n places while it runs; throws ERR_TOO_LARGE for more than 16,384.
at::Tensor firstKernelPrincipalProjection(const at::Tensor& activations);

}  // namespace gradcam
