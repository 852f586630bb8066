#pragma once

#include "api/augmentation_choice.h"
#include "core/process/torch.h"

namespace gradcam {

at::Tensor augment(const at::Tensor& images, const AugmentationChoice& augmentation);
at::Tensor undo(const at::Tensor& heatmaps, const AugmentationChoice& augmentation);

}  // namespace gradcam
