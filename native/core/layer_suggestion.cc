#include "core/layer_suggestion.h"

#include <algorithm>

namespace gradcam {
namespace {

std::string describe(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t size : shape) text += (text.empty() ? "[" : ", ") + std::to_string(size);
  return text + "]";
}

}  // namespace

LayerSuggestion suggestLayer(const std::vector<FinishedCall>& calls,
                             const std::vector<int64_t>& inputShape,
                             const std::vector<int64_t>& outputShape) {
  const std::size_t rank = inputShape.size();
  const auto hasMap = [&](const FinishedCall& call) {
    return call.shape.size() == rank && rank >= 3 &&
           std::any_of(call.shape.begin() + 2, call.shape.end(), [](int64_t size) { return size > 1; });
  };

  // A model whose output is itself a map narrows it to one channel per class: there the widest layer is the
  // last that holds features.
  const bool denseOutput = outputShape.size() == rank && rank >= 3;
  std::size_t chosen = calls.size();
  for (std::size_t index = 0; index < calls.size(); ++index) {
    if (!hasMap(calls[index])) continue;
    if (chosen == calls.size() || !denseOutput || calls[index].shape[1] >= calls[chosen].shape[1])
      chosen = index;
  }
  if (chosen == calls.size()) {
    return {"", "no layer gives a map with " + std::to_string(rank >= 2 ? rank - 2 : 0) +
                    " spatial axes for an input of shape " + describe(inputShape) +
                    "; name one with targetLayers"};
  }
  // A transformer cuts the image into tokens early on: its only maps are those before the first block.
  const auto tokensBehind =
      std::count_if(calls.begin() + static_cast<std::ptrdiff_t>(chosen), calls.end(),
                    [&](const FinishedCall& call) { return rank == 4 && call.shape.size() == 3; });
  if (static_cast<std::size_t>(tokensBehind) * 2 > calls.size()) {
    return {"", "most layers give tokens, not maps (a vision transformer?); name a layer with targetLayers"};
  }
  return {calls[chosen].path, (denseOutput ? "the last of the widest layers with a spatial map, "
                                           : "the last layer that gives a spatial map, ") +
                                  describe(calls[chosen].shape)};
}

}  // namespace gradcam
