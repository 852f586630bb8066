#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/process/torch.h"

namespace gradcam {

// The sizes of the weights in a layer, which tell where the channels of its output are.
class LayerWeights {
 public:
  // Nothing is told without a layer. Walks over all that is inside: make it once.
  explicit LayerWeights(const std::optional<torch::jit::Module>& layer);

  // Whether an output of this shape is [B, ...space, C]. None where the weights do not tell.
  std::optional<bool> areChannelsLast(at::IntArrayRef shape) const;

 private:
  bool ofPixels_ = true;    // all of convolutions and the like, whose channels are on the second axis
  bool ofFeatures_ = true;  // all of linear layers and the like, whose channels are on the last
  std::vector<int64_t> channels_;
};

}  // namespace gradcam
