#pragma once

#include <memory>
#include <vector>

#include "api/plan_description.h"
#include "core/fusion/shared_weights.h"
#include "core/process/torch.h"

namespace gradcam {

// Rewrites a frozen graph that runs without gradients into its fastest form for the CPU: convolutions with
// what follows them, additions and activations, become one oneDNN primitive each, on channels-last data. The
// results differ only by rounding. Returns what the graph's new last inputs are to be given on each run.
// Adds to `facts` what was fused. Without `mayFuseConvolutions` they stay as they are (see plain_layout.h).
std::vector<c10::IValue> optimizePrefix(std::shared_ptr<torch::jit::Graph>& graph,
                                        bool mayFuseConvolutions,
                                        SharedWeights& weights,
                                        PlanDescription& facts);

// The same for a frozen graph that autograd records, whose gradients have no gradients themselves then: what
// is fused has a derivative of its own. On a GPU nothing is.
std::vector<c10::IValue> optimizeTail(std::shared_ptr<torch::jit::Graph>& graph,
                                      bool mayFuseConvolutions,
                                      SharedWeights& weights,
                                      PlanDescription& facts);

// A convolution that optimizePrefix makes one oneDNN primitive of, on channels-last data.
bool isFusableConvolution(const torch::jit::Node* node);

}  // namespace gradcam
