#pragma once

#include "core/fusion/graph_rewriting.h"
#include "core/process/torch.h"

namespace gradcam {

// A matrix product with a constant float32 weight on the CPU, for oneDNN.
bool isFusableLinear(const torch::jit::Node* node);

// Makes one oneDNN primitive of such a product and what follows it: an activation; or a constant factor for
// each feature (the layer scale of CaiT and ConvNeXt) and the addition of a skip connection, also of the
// product with its axes permuted. `type` is that of the arithmetic.
void fuseLinear(torch::jit::Node* linear, GraphRewriter& rewriter, at::ScalarType type);

// The product alone, where autograd records it.
void recordLinear(torch::jit::Node* linear, GraphRewriter& rewriter);

}  // namespace gradcam
