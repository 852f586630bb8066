#pragma once

#include <vector>

#include "core/process/torch.h"

namespace gradcam {

// Models that take their images as a list of [C, H, W], each with a size of its own, as torchvision's
// detectors do. To the rest of this library their images are a batch [B, C, H, W] like any other.

// Whether the model's forward takes a list of tensors, and no other tensors that must be given.
bool takesImageList(const torch::jit::Module& module);

// The images of all `inputs`, [C, H, W] or [B, C, H, W], as the one argument of such a forward.
c10::IValue toImageList(const std::vector<at::Tensor>& inputs);

}  // namespace gradcam
