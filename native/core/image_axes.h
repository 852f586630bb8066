#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/torch.h"

namespace gradcam {

// Whether a batch of images is [B, H, W, C] instead of [B, C, H, W]: 1, 3 or 4 channels behind two axes that
// are too long for channels.
bool isChannelsLast(at::IntArrayRef shape);

// The sizes of the images in a batch [B, C, ...space] or [B, H, W, C].
std::vector<int64_t> spatialSizes(at::IntArrayRef shape);

// The same of an input whose layer has a map of `mapSizes`: where the input has no axis for channels, [B, H,
// W], all its axes count. Empty where the two have nothing to do with each other.
std::vector<int64_t> spatialSizesFor(at::IntArrayRef mapSizes, at::IntArrayRef inputShape);

// Images times factors, of whole numbers rounded and kept within their type.
at::Tensor multiplied(const at::Tensor& images, const at::Tensor& factors);

// Whether a layer gives [B, ...space, C], as the sizes of the weights in it tell. None where they do not.
std::optional<bool> givesChannelsLast(const torch::jit::Module& layer, at::IntArrayRef shape);

}  // namespace gradcam
