#include "core/graphs/token_order.h"

#include "core/hooks/forward_hooks.h"
#include "core/script/graph_walk.h"

namespace gradcam {
namespace {

using torch::jit::Node;
using torch::jit::Value;

// A list's elements, -1 for those that are not constants.
std::vector<int64_t> listElements(const Value* list) {
  if (const auto constant = torch::jit::toIValue(list)) {
    return constant->isIntList() ? constant->toIntVector() : std::vector<int64_t>{};
  }
  std::vector<int64_t> elements;
  if (list->node()->kind() != c10::prim::ListConstruct) return elements;
  for (const Value* element : list->node()->inputs()) {
    const auto constant = torch::jit::toIValue(element);
    elements.push_back(constant && constant->isInt() ? constant->toInt() : -1);
  }
  return elements;
}

int64_t spatialAxes(const std::vector<int64_t>& order) {
  const auto count = static_cast<int64_t>(order.size());
  return count >= 6 && count % 2 == 0 ? (count - 2) / 2 : 0;
}

// [B, outer, inner, outer, inner, C] -> [B, inner, inner, outer, outer, C]: Hiera's Unroll, whose `inner` of
// a step are its units' strides; for any number of spatial axes, two at least.
bool isUnroll(const std::vector<int64_t>& order) {
  const int64_t axes = spatialAxes(order);
  if (axes == 0 || order.front() != 0 || order.back() != 2 * axes + 1) return false;
  for (int64_t axis = 0; axis < axes; ++axis) {
    if (order[static_cast<std::size_t>(1 + axis)] != 2 + 2 * axis) return false;
    if (order[static_cast<std::size_t>(1 + axes + axis)] != 1 + 2 * axis) return false;
  }
  return true;
}

bool undoesUnroll(const std::vector<int64_t>& order) {
  const int64_t axes = spatialAxes(order);
  if (axes == 0 || order.front() != 0 || order.back() != 2 * axes + 1) return false;
  for (int64_t axis = 0; axis < axes; ++axis) {
    if (order[static_cast<std::size_t>(1 + 2 * axis)] != 1 + axes + axis) return false;
    if (order[static_cast<std::size_t>(2 + 2 * axis)] != 1 + axis) return false;
  }
  return true;
}

UnrollStep stepOf(const Node* permute, int64_t axes) {
  UnrollStep step;
  const Node* view = permute->input(0)->node();
  const bool hasSizes = view->kind() == c10::aten::view || view->kind() == c10::aten::reshape;
  const std::vector<int64_t> sizes = hasSizes ? listElements(view->input(1)) : std::vector<int64_t>{};
  for (int64_t axis = 0; axis < axes; ++axis) {
    const auto at = static_cast<std::size_t>(1 + 2 * axis);
    const bool known = at + 1 < sizes.size();
    step.units.push_back(known ? sizes[at] : -1);
    step.inner.push_back(known ? sizes[at + 1] : -1);
  }
  return step;
}

}  // namespace

std::vector<std::vector<UnrollStep>> unrollStepsBeforeHooks(torch::jit::Graph& graph, std::size_t slots) {
  std::vector<std::vector<UnrollStep>> before(slots);
  std::vector<UnrollStep> open;
  forEachNode(graph.block(), [&](const Node* node) {
    if (node->kind() == forwardHookSymbol()) {
      before[static_cast<std::size_t>(torch::jit::toIValue(node->input(1))->toInt())] = open;
    } else if (node->kind() == c10::aten::permute) {
      const std::vector<int64_t> order = listElements(node->input(1));
      if (isUnroll(order)) open.push_back(stepOf(node, spatialAxes(order)));
      if (undoesUnroll(order) && !open.empty()) open.pop_back();
    }
  });
  return before;
}

}  // namespace gradcam
