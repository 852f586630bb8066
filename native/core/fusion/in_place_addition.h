#pragma once

#include "core/process/torch.h"

namespace gradcam {

// Lets fused convolutions add to the memory of what they add, where nothing reads that afterwards: the skip
// connection of a residual block, whose sum is the next one's. The bits stay the same. For graphs without
// gradients whose convolutions are fused already.
void addInPlace(torch::jit::Graph& graph);

}  // namespace gradcam
