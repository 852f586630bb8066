#pragma once

#include <string>
#include <vector>

#include "api/cancellation.h"
#include "api/model.h"
#include "api/progress.h"
#include "api/targets.h"

namespace gradcam {

struct AttributionRequest {
  enum class Kind {
    Saliency,             // the score's gradient with respect to the input (Simonyan et al. 2013)
    GuidedBackprop,       // the same with guided ReLUs (Springenberg et al. 2015)
    IntegratedGradients,  // gradients along the way from a baseline (Sundararajan et al. 2017)
  } kind = Kind::Saliency;
  GivenInputs inputs;                   // the first is attributed to
  std::string modelMethod = "forward";  // which of the model's methods runs
  OutputSelector output;
  TargetsPerImage targets;
  std::string rule = "gausslegendre";  // IntegratedGradients; or "riemann_trapezoid"
  int64_t steps = 50;
  int64_t batchSize = 16;  // steps in one run of the model
  double baseline = 0;     // the value of every input element where the way begins
};

struct AttributedMap : ExplainedMap {
  double convergenceDelta;  // IntegratedGradients: their sum minus the difference of the scores; else 0
};

struct Attribution {
  TensorHandle attributions;  // float32 [N, C, ...space], by image, then by target
  OutputTree outputs;
  std::vector<AttributedMap> maps;
};

// Throws what explain() throws. `progress` counts runs in images.
Attribution attribution(const Model& model,
                        const AttributionRequest& request,
                        const Cancellation& cancellation,
                        const Progress& progress);

}  // namespace gradcam
