#pragma once

#include <map>
#include <string>

#include "core/process/torch.h"

namespace gradcam {

// What a method's graph tells of images that run together, and of training mode. Eval mode is set at load,
// but a trace holds what it was traced with, and a model may use a batch's statistics on purpose.
struct BatchFacts {
  // Operations that train, with how often the graph has them: {"batch_norm": 2, "dropout": 1}.
  std::map<std::string, int> training;
  // BatchNorm takes its statistics from the batch: what an image gives depends on the others.
  bool mixesImages = false;
};

BatchFacts batchFactsOf(const torch::jit::Module& model, const std::string& method);

}  // namespace gradcam
