#include "core/graphs/cancellation_points.h"

#include "api/cancellation.h"
#include "core/script/graph_walk.h"
#include "core/script/own_operators.h"

namespace gradcam {
namespace {

const c10::Symbol& cancellationPointSymbol() {
  static const c10::Symbol symbol = registerOperator(
      "cancellation_point() -> ()", [](torch::jit::Stack&) { throwIfCancelled(); },
      c10::AliasAnalysisKind::CONSERVATIVE);
  return symbol;
}

}  // namespace

void insertCancellationPoints(torch::jit::Graph& graph) {
  forEachNode(graph.block(), [&](torch::jit::Node* node) {
    if (node->kind() != c10::prim::Loop) return;
    node->blocks()[0]->prependNode(graph.create(cancellationPointSymbol(), {}, 0));
  });
}

}  // namespace gradcam
