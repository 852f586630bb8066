#pragma once

#include "core/process/torch.h"

namespace gradcam {

// Every node of a block, those of inner blocks before the one that holds them. `visit` may remove the node it
// is given.
template <typename Visit>
void forEachNode(torch::jit::Block* block, const Visit& visit) {
  for (auto position = block->nodes().begin(); position != block->nodes().end();) {
    torch::jit::Node* node = *position++;
    for (torch::jit::Block* inner : node->blocks()) forEachNode(inner, visit);
    visit(node);
  }
}

// The graphs of all functions and methods of the file that the module came from.
template <typename Visit>
void forEachGraph(const torch::jit::Module& module, const Visit& visit) {
  for (torch::jit::Function* function : module._ivalue()->compilation_unit()->get_functions()) {
    function->ensure_defined();
    if (auto* ofGraph = torch::jit::tryToGraphFunction(*function)) visit(*ofGraph->graph());
  }
}

}  // namespace gradcam
