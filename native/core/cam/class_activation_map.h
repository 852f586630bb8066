#pragma once

#include <string>
#include <vector>

#include "core/process/torch.h"
#include "core/targets/target_scores.h"

namespace gradcam {

// One target layer for CAM, and what it belongs to.
struct ClassifiedLayer {
  std::string path;
  at::Tensor activation;  // [B, C, ...space]
  c10::IValue output;     // the explained output
};

// CAM (Zhou et al. 2016, eq. 2): the channels weighted as the linear layer behind the pooling weights them
// for the class; -> [targets, ...space]. An empty `linear` is found: the one layer that makes the model's
// output of the activation's mean over space. Throws ERR_UNKNOWN_LAYER, ERR_LAYER_OUTPUT, ERR_UNSUPPORTED,
// ERR_CLASS_OUT_OF_RANGE.
at::Tensor classActivationMap(const torch::jit::Module& model,
                              const std::string& linear,
                              const ClassifiedLayer& layer,
                              const std::vector<ResolvedTarget>& targets);

}  // namespace gradcam
