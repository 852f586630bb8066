#include "core/values/image_axes.h"

#include <algorithm>
#include <cstdlib>

namespace gradcam {
namespace {

// Whether one is the other made smaller by one factor, up to rounding.
bool isProportional(at::IntArrayRef map, at::IntArrayRef image) {
  if (map.size() != image.size()) return false;
  for (std::size_t axis = 0; axis < map.size(); ++axis) {
    if (map[axis] > image[axis]) return false;
    const int64_t rounding = 2 * std::max(image[0], image[axis]);
    if (std::llabs(map[0] * image[axis] - map[axis] * image[0]) >= rounding) return false;
  }
  return true;
}

}  // namespace

bool isChannelsLast(at::IntArrayRef shape) {
  const auto isCount = [](int64_t size) { return size == 1 || size == 3 || size == 4; };
  return shape.size() == 4 && isCount(shape[3]) && shape[1] > 4 && shape[2] > 4;
}

int64_t channelAxisOf(at::IntArrayRef shape) {
  if (isChannelsLast(shape)) return 3;
  const auto isColour = [](int64_t size) { return size == 1 || size == 3; };
  const bool video =
      shape.size() == 5 && isColour(shape[2]) && !isColour(shape[1]) && shape[3] > 4 && shape[4] > 4;
  return video ? 2 : 1;
}

std::vector<int64_t> spatialSizes(at::IntArrayRef shape) {
  if (shape.size() < 3) return {};
  std::vector<int64_t> sizes = shape.vec();
  sizes.erase(sizes.begin() + channelAxisOf(shape));
  sizes.erase(sizes.begin());
  return sizes;
}

std::vector<int64_t> spatialSizesFor(at::IntArrayRef mapSizes, at::IntArrayRef inputShape) {
  const auto usual = spatialSizes(inputShape);
  if (usual.size() == mapSizes.size()) return usual;
  const auto all = inputShape.slice(1);
  return isProportional(mapSizes, all) ? all.vec() : std::vector<int64_t>{};
}

at::Tensor asFactorsOf(const at::Tensor& tensor, const at::Tensor& factors) {
  std::vector<int64_t> sizes = factors.sizes().vec();
  sizes.resize(static_cast<std::size_t>(tensor.dim()), 1);
  return factors.view(sizes);
}

at::Tensor multiplied(const at::Tensor& images, const at::Tensor& factors) {
  const at::ScalarType type = images.scalar_type();
  if (at::isFloatingType(type)) return images * factors.to(images.device(), type);
  const at::Tensor product = (images.to(at::kFloat) * factors.to(images.device(), at::kFloat)).round();
  return (type == at::kByte ? product.clamp(0, 255) : product).to(type);
}

}  // namespace gradcam
