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

}  // namespace gradcam
