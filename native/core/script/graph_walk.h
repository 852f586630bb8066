#pragma once

#include "core/process/torch.h"

namespace gradcam {

template <typename Visit>
void forEachNodeOf(torch::jit::Node* node, const Visit& visit);

// Every node of a block in program order, those of inner blocks before the one that holds them. `visit` may
// remove the node it is given, and insert others, which are not visited.
//
// Three walks are others and have loops of their own: one inlines calls and goes on with what it inserted
// (module_calls), one leaves out branches that settings rule out (batch_facts), one follows what branches and
// loops hand on (input_dependence).
template <typename Visit>
void forEachNode(torch::jit::Block* block, const Visit& visit) {
  for (auto position = block->nodes().begin(); position != block->nodes().end();) {
    torch::jit::Node* node = *position++;
    forEachNodeOf(node, visit);
  }
}

// Every node inside of a node, then itself.
template <typename Visit>
void forEachNodeOf(torch::jit::Node* node, const Visit& visit) {
  for (torch::jit::Block* inner : node->blocks()) forEachNode(inner, visit);
  visit(node);
}

template <typename IsWanted>
bool anyNode(torch::jit::Block* block, const IsWanted& isWanted) {
  bool found = false;
  forEachNode(block, [&](torch::jit::Node* node) { found = found || isWanted(node); });
  return found;
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
