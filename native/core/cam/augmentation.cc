#include "core/cam/augmentation.h"

namespace gradcam {

at::Tensor augment(const at::Tensor& images, const AugmentationChoice& augmentation) {
  const at::Tensor changed = augmentation.flip ? images.flip({-1}) : images;
  return augmentation.multiply == 1 ? changed : changed * augmentation.multiply;
}

at::Tensor undo(const at::Tensor& heatmaps, const AugmentationChoice& augmentation) {
  return augmentation.flip ? heatmaps.flip({-1}) : heatmaps;
}

}  // namespace gradcam
