#pragma once

#include "core/cam/augmentation_choice.h"
#include "core/torch.h"

namespace gradcam {

at::Tensor augment(const at::Tensor& images, const AugmentationChoice& augmentation);
at::Tensor undo(const at::Tensor& heatmaps, const AugmentationChoice& augmentation);

}  // namespace gradcam
