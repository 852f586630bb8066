#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/reshape_transform.h"
#include "core/process/torch.h"

namespace gradcam {

// Class, distillation and register tokens; more than the known architectures have is taken for a misreading.
constexpr int64_t mostPrefixTokens = 16;

// The grid of `tokens` that has the shape of a two-dimensional image: with `prefixTokens` the one that leaves
// so many over, else the largest one, which may leave 16 over. Empty where there is none.
std::vector<int64_t> inferGrid(int64_t tokens,
                               const std::optional<int64_t>& prefixTokens,
                               const std::vector<int64_t>& imageSize);

// Whether so many tokens are the transform's prefix and grid, or those of a grid of the image's shape.
bool fitsGrid(int64_t tokens, const ReshapeTransform& transform);

// Throws ERR_LAYER_OUTPUT where the tensor, of layer `path`, does not fit.
at::Tensor applyReshape(const at::Tensor& tensor, const ReshapeTransform& transform, const std::string& path);

}  // namespace gradcam
