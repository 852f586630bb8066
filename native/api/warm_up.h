#pragma once

#include <string>
#include <vector>

#include "api/cancellation.h"
#include "api/model.h"
#include "api/target_layer.h"

namespace gradcam {

struct WarmUpRequest {
  GivenInputs inputs;                   // of the shapes that are to come; their values do not matter
  std::vector<TargetLayer> layers;      // of the explains to come; none: of plain runs of the method
  std::string modelMethod = "forward";  // which of the model's methods runs
  bool optimize = true;
};

// Does what the first calls of a shape do besides the work itself: plans are built, weights are put into
// oneDNN's order, and its kernels, the walk back's too, are compiled. Scores are not looked at. Throws
// Model::run()'s failures, and of explain() those of layers.
void warmUp(const Model& model, const WarmUpRequest& request, const Cancellation& cancellation);

}  // namespace gradcam
