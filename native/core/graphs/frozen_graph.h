#pragma once

#include "core/process/torch.h"

namespace gradcam {

// Makes constants of everything that `graph` (a forward whose calls are inlined) reads from `module`, and
// folds what follows from them: branches on `training`, BatchNorm into convolutions. LibTorch's own freezing
// works on modules and would lose the marks of hooked layers; these are its passes. `module` is in eval mode
// and is not changed.
void freezeGraph(std::shared_ptr<torch::jit::Graph>& graph, const torch::jit::Module& module);

// Only what is a number, a flag or a word, so that branches on settings become straight code; tensors stay
// attributes.
void foldSettings(std::shared_ptr<torch::jit::Graph>& graph, const torch::jit::Module& module);

}  // namespace gradcam
