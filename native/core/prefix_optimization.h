#pragma once

#include "core/torch.h"

namespace gradcam {

// Makes a frozen graph that runs without gradients faster: convolutions, linear layers and what surrounds
// them in oneDNN's own layouts.
void optimizePrefix(std::shared_ptr<torch::jit::Graph>& graph);

}  // namespace gradcam
