#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/inspect.h"

namespace gradcam {

// One call of a layer, in the order in which the calls ended.
struct FinishedCall {
  std::string path;
  std::string type;                          // class name
  std::vector<int64_t> shape;                // of its output; empty where that is no tensor
  std::vector<std::vector<int64_t>> levels;  // of its outputs, where it gives several maps
  std::optional<bool> channelsLast;          // where the layer's weights tell
  bool dependsOnInput = true;                // on what is in the image, not on its size alone
};

// The layer that Grad-CAM is usually wanted for: the last one that still has a spatial map, as torch-cam
// chooses it; of a transformer the one before the last attention, as pytorch-grad-cam advises.
// Of a detector, whose output is no tensor and has no shape, the last feature pyramid.
LayerSuggestion suggestLayer(const std::vector<FinishedCall>& calls,
                             const std::vector<int64_t>& inputShape,
                             const std::vector<int64_t>& outputShape);

}  // namespace gradcam
