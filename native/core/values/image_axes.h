#pragma once

#include <cstdint>
#include <vector>

#include "core/process/torch.h"

namespace gradcam {

// Whether a batch of images is [B, H, W, C] instead of [B, C, H, W]: 1, 3 or 4 channels behind two axes that
// are too long for channels.
bool isChannelsLast(at::IntArrayRef shape);

// The axis of the channels: 1; 3 of [B, H, W, C]; 2 of video, [B, T, C, H, W], which a volume of one or three
// slices would look like.
int64_t channelAxisOf(at::IntArrayRef shape);

// The sizes of the images in a batch [B, C, ...space] or [B, H, W, C].
std::vector<int64_t> spatialSizes(at::IntArrayRef shape);

// The same of an input whose layer has a map of `mapSizes`: where the input has no axis for channels, [B, H,
// W], all its axes count. Empty where the two have nothing to do with each other.
std::vector<int64_t> spatialSizesFor(at::IntArrayRef mapSizes, at::IntArrayRef inputShape);

// Factors of `tensor` along its first axes, [N] or [N, C], with axes of size 1 for the others.
at::Tensor asFactorsOf(const at::Tensor& tensor, const at::Tensor& factors);

// Images times factors, of whole numbers rounded and kept within their type.
at::Tensor multiplied(const at::Tensor& images, const at::Tensor& factors);

}  // namespace gradcam
