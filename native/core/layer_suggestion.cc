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
  const auto isMap = [&](const std::vector<int64_t>& shape) {
    // What has another number of rows, as boxes cut out of the images have, is no map of the images.
    return shape.size() == rank && rank >= 3 && shape[0] == inputShape[0];
  };
  const auto hasMap = [&](const FinishedCall& call) {
    return call.shapes.size() == 1 && isMap(call.shapes[0]) &&
           std::any_of(call.shapes[0].begin() + 2, call.shapes[0].end(),
                       [](int64_t size) { return size > 1; });
  };
  const auto isPyramid = [&](const FinishedCall& call) {
    return call.shapes.size() > 1 && std::all_of(call.shapes.begin(), call.shapes.end(), isMap);
  };
  if (outputShape.empty()) {
    const auto pyramid = std::find_if(calls.rbegin(), calls.rend(), isPyramid);
    if (pyramid != calls.rend()) return {pyramid->path, "the last layer that gives a feature pyramid"};
  }

  // A model whose output is itself a map narrows it to one channel per class: there the widest layer is the
  // last that holds features.
  const bool denseOutput = outputShape.size() == rank && rank >= 3;
  const auto channels = [&](std::size_t index) { return calls[index].shapes[0][1]; };
  std::size_t chosen = calls.size();
  for (std::size_t index = 0; index < calls.size(); ++index) {
    if (!hasMap(calls[index])) continue;
    if (chosen == calls.size() || !denseOutput || channels(index) >= channels(chosen)) chosen = index;
  }
  if (chosen == calls.size()) {
    return {"", "no layer gives a map with " + std::to_string(rank >= 2 ? rank - 2 : 0) +
                    " spatial axes for an input of shape " + describe(inputShape) +
                    "; name one with targetLayers"};
  }
  // A transformer cuts the image into tokens early on: its only maps are those before the first block.
  const auto tokensBehind = std::count_if(
      calls.begin() + static_cast<std::ptrdiff_t>(chosen), calls.end(), [&](const FinishedCall& call) {
        return rank == 4 && call.shapes.size() == 1 && call.shapes[0].size() == 3;
      });
  if (static_cast<std::size_t>(tokensBehind) * 2 > calls.size()) {
    return {"", "most layers give tokens, not maps (a vision transformer?); name a layer with targetLayers"};
  }
  return {calls[chosen].path, (denseOutput ? "the last of the widest layers with a spatial map, "
                                           : "the last layer that gives a spatial map, ") +
                                  describe(calls[chosen].shapes[0])};
}

}  // namespace gradcam
