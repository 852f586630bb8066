#include "core/values/image_axes.h"

#include <algorithm>
#include <cstdlib>
#include <string>

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

struct WeightedLayer {
  enum class Kind { Pixels, Features } kind;  // channels on the second axis, or on the last
  int64_t channels;
};

// An LSTM or GRU gives the states of each place, in both directions or one.
std::optional<WeightedLayer> recurrentLayer(const torch::jit::Module& module) {
  if (!module.hasattr("weight_hh_l0") || !module.attr("weight_hh_l0").isTensor()) return std::nullopt;
  const int64_t states = module.attr("weight_hh_l0").toTensor().size(1);
  return WeightedLayer{WeightedLayer::Kind::Features,
                       module.hasattr("weight_hh_l0_reverse") ? 2 * states : states};
}

std::optional<WeightedLayer> weightedLayer(const torch::jit::Module& module) {
  if (const auto recurrent = recurrentLayer(module)) return recurrent;
  if (!module.hasattr("weight") || !module.attr("weight").isTensor()) return std::nullopt;
  const at::Tensor weight = module.attr("weight").toTensor();
  if (!weight.defined() || weight.dim() == 0) return std::nullopt;
  const std::string type = module.type()->name() ? module.type()->name()->name() : "";
  const bool transposed = type.find("Transpose") != std::string::npos;
  const int64_t channels = weight.size(transposed && weight.dim() > 2 ? 1 : 0);
  if (weight.dim() > 2 || module.hasattr("running_mean") || type.find("GroupNorm") != std::string::npos ||
      type.find("InstanceNorm") != std::string::npos || type.find("PReLU") != std::string::npos ||
      type.find("2d") != std::string::npos)
    return WeightedLayer{WeightedLayer::Kind::Pixels, channels};
  const bool embedding = type.find("Embedding") != std::string::npos;
  return WeightedLayer{WeightedLayer::Kind::Features,
                       embedding && weight.dim() == 2 ? weight.size(1) : channels};
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

at::Tensor multiplied(const at::Tensor& images, const at::Tensor& factors) {
  const at::ScalarType type = images.scalar_type();
  if (at::isFloatingType(type)) return images * factors.to(images.device(), type);
  const at::Tensor product = (images.to(at::kFloat) * factors.to(images.device(), at::kFloat)).round();
  return (type == at::kByte ? product.clamp(0, 255) : product).to(type);
}

LayerWeights::LayerWeights(const std::optional<torch::jit::Module>& layer) {
  if (!layer) return;
  for (const torch::jit::Module& module : layer->modules()) {
    const auto weighted = weightedLayer(module);
    if (!weighted) continue;
    ofPixels_ = ofPixels_ && weighted->kind == WeightedLayer::Kind::Pixels;
    ofFeatures_ = ofFeatures_ && weighted->kind == WeightedLayer::Kind::Features;
    channels_.push_back(weighted->channels);
  }
}

std::optional<bool> LayerWeights::areChannelsLast(at::IntArrayRef shape) const {
  if (shape.size() < 3 || channels_.empty()) return std::nullopt;
  // The channels of one of its layers must be those of what it gives: another order may come behind them.
  const auto isOne = [&](int64_t size) {
    return std::find(channels_.begin(), channels_.end(), size) != channels_.end();
  };
  if (ofFeatures_ && isOne(shape.back()) && (shape.back() == shape[1] || !isOne(shape[1]))) return true;
  if (ofPixels_ && isOne(shape[1])) return false;
  return std::nullopt;
}

}  // namespace gradcam
