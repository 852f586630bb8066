#pragma once

#include <memory>

#include "core/process/torch.h"

namespace gradcam {

// One straight graph cut in two at a node: `prefix` is what comes before, `tail` the node and what follows.
// The prefix returns the values that cross the cut as a tuple's elements, in the order of the tail's inputs;
// nothing is computed twice, and constants are in both.
struct SplitGraph {
  std::shared_ptr<torch::jit::Graph> prefix;
  std::shared_ptr<torch::jit::Graph> tail;
  bool crossingValuesAlias;  // a crossing value may share memory with another that the tail writes to
};

// `cut` is a node of the graph's outermost block. The graph is not changed.
SplitGraph splitGraph(const std::shared_ptr<torch::jit::Graph>& graph, torch::jit::Node* cut);

}  // namespace gradcam
