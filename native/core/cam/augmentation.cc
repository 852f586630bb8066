#include "core/cam/augmentation.h"

#include "core/values/image_axes.h"

namespace gradcam {

at::Tensor augment(const at::Tensor& images, const AugmentationChoice& augmentation) {
  const int64_t width = isChannelsLast(images.sizes()) ? -2 : -1;
  const at::Tensor changed = augmentation.flip ? images.flip({width}) : images;
  return augmentation.multiply == 1 ? changed : multiplied(changed, at::scalar_tensor(augmentation.multiply));
}

at::Tensor undo(const at::Tensor& heatmaps, const AugmentationChoice& augmentation) {
  return augmentation.flip ? heatmaps.flip({-1}) : heatmaps;
}

}  // namespace gradcam
