#include "core/fusion/in_place_addition.h"

#include <algorithm>
#include <vector>

#include "core/fusion/fused_convolution.h"
#include "core/script/graph_walk.h"

namespace gradcam {
namespace {

using torch::jit::Node;
using torch::jit::Use;
using torch::jit::Value;

bool isFusedConvolution(const Node* node) {
  return node->kind() == fusedConvolutionSymbol() || node->kind() == fusedConvolutionInPlaceSymbol();
}

// Only convolutions read it, which keep nothing of it, this one last and as what it adds; and a convolution
// made it, so that no other value has its memory.
bool diesIn(const Node* convolution, const Value* added) {
  if (!isFusedConvolution(added->node()) || added->node()->owningBlock() != convolution->owningBlock())
    return false;
  const auto& uses = added->uses();
  return std::all_of(uses.begin(), uses.end(), [&](const Use& use) {
    if (use.user == convolution) return use.offset == kAddedInput;
    return isFusedConvolution(use.user) && use.user->owningBlock() == convolution->owningBlock() &&
           use.user->isBefore(convolution);
  });
}

}  // namespace

void addInPlace(torch::jit::Graph& graph) {
  std::vector<Node*> additions;
  forEachNode(graph.block(), [&](Node* node) {
    if (node->kind() == fusedConvolutionSymbol() && diesIn(node, node->input(kAddedInput)))
      additions.push_back(node);
  });
  for (Node* node : additions) {
    node->replaceWithNewSymbol(fusedConvolutionInPlaceSymbol());
    node->destroy();
  }
}

}  // namespace gradcam
