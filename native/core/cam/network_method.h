#pragma once

#include "api/explain.h"
#include "core/model/model_state.h"
#include "core/targets/explained_output.h"
#include "core/targets/target_scores.h"

namespace gradcam {

// What a method that looks at the whole network, not at target layers, makes of one batch.
struct NetworkMaps {
  at::Tensor heatmaps;  // float32 [N, ...size] in 0..1 on the CPU, N as targets
  c10::IValue output;
  std::vector<ResolvedTarget> targets;
  std::vector<double> scores;
};

// `inputs` are the request's, prepared (and augmented) for the model, `output` what is explained for them,
// and `targets` those resolved for the input as it is; null where this is it.
using NetworkMethod = NetworkMaps (*)(ModelState& state,
                                      const ExplainRequest& request,
                                      const ModelInputs& inputs,
                                      const ExplainedOutput& output,
                                      const std::vector<ResolvedTarget>* targets,
                                      const Cancellation& cancellation,
                                      StageTimings& timings);

}  // namespace gradcam
