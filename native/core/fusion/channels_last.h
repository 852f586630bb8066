#pragma once

#include <vector>

#include "core/process/torch.h"

namespace gradcam {

// Tensors with 1, 2 or 3 axes of space as oneDNN's operators in ATen and our loops take them, channels-last.
// A signal is an image of height 1 for them, by a view that autograd does not see.

// [N, C, L] as [N, C, 1, L]; every other tensor as it is.
at::Tensor asImage(const at::Tensor& x);
// A convolution's number for each axis of space, so; `ofHeight` is that of the height of 1.
std::vector<int64_t> asImage(const std::vector<int64_t>& ofAxes, int64_t ofHeight);
// Back, to a tensor with `dimensions` dimensions.
at::Tensor asGiven(const at::Tensor& image, int64_t dimensions);

// Of an image or a volume.
at::MemoryFormat channelsLastOf(const at::Tensor& image);
// Copied where it lies otherwise.
at::Tensor asChannelsLastImage(const at::Tensor& x);
bool isChannelsLastImage(const at::Tensor& image);

}  // namespace gradcam
