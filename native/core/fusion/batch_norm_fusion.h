#pragma once

#include "core/fusion/graph_rewriting.h"
#include "core/process/torch.h"

namespace gradcam {

// Makes one operation of each BatchNorm that no convolution can take in, with the concatenation of channels
// before it and the ReLU behind it.
void fuseBatchNorms(torch::jit::Graph& graph, GraphRewriter& rewriter);

}  // namespace gradcam
