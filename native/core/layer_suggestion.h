#pragma once

#include <string>
#include <vector>

#include "core/inspect.h"

namespace gradcam {

// One call of a layer that gave a tensor or several, in the order in which the calls ended.
struct FinishedCall {
  std::string path;
  std::vector<std::vector<int64_t>> shapes;
};

// The layer that Grad-CAM is usually wanted for: the last one that still has a spatial map, as torch-cam
// chooses it. Of a detector, whose output is no tensor and has no shape, the last feature pyramid.
LayerSuggestion suggestLayer(const std::vector<FinishedCall>& calls,
                             const std::vector<int64_t>& inputShape,
                             const std::vector<int64_t>& outputShape);

}  // namespace gradcam
