#include "core/script/layer_weights.h"

#include <algorithm>
#include <string>

#include "core/script/module_facts.h"

namespace gradcam {
namespace {

struct WeightedLayer {
  enum class Kind { Pixels, Features } kind;  // channels on the second axis, or on the last
  int64_t channels;
};

// An LSTM or GRU gives the states of each place, in both directions or one.
std::optional<WeightedLayer> recurrentLayer(const torch::jit::Module& module) {
  const at::Tensor weight = tensorAttribute(module, "weight_hh_l0");
  if (!weight.defined()) return std::nullopt;
  const int64_t states = weight.size(1);
  return WeightedLayer{WeightedLayer::Kind::Features,
                       module.hasattr("weight_hh_l0_reverse") ? 2 * states : states};
}

std::optional<WeightedLayer> weightedLayer(const torch::jit::Module& module) {
  if (const auto recurrent = recurrentLayer(module)) return recurrent;
  const at::Tensor weight = tensorAttribute(module, "weight");
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
