#include "core/graphs/norm_gradients.h"

#include <vector>

#include "core/script/graph_walk.h"
#include "core/script/own_operators.h"

namespace gradcam {
namespace {

using torch::jit::Node;
using torch::jit::Value;

bool matters(const at::Tensor& tensor) {
  return tensor.is_cpu() && tensor.dim() > 2 && tensor.size(0) == 1 && tensor.requires_grad() &&
         at::GradMode::is_enabled();
}

void runInRows(torch::jit::Stack& stack) {
  const at::Tensor tensor = torch::jit::pop(stack).toTensor();
  torch::jit::push(stack, matters(tensor) ? tensor.contiguous() : tensor);
}

// A hook, and no operation that hands the tensor on: autograd forbids to write into what such a one gives.
void runGradientInRows(torch::jit::Stack& stack) {
  const at::Tensor tensor = torch::jit::pop(stack).toTensor();
  if (matters(tensor)) tensor.register_hook([](const at::Tensor& gradient) { return gradient.contiguous(); });
  torch::jit::push(stack, tensor);
}

const c10::Symbol& inRowsSymbol() {
  static const c10::Symbol symbol = registerOperator("in_rows(Tensor(a) tensor) -> Tensor(a)", runInRows);
  return symbol;
}

const c10::Symbol& gradientInRowsSymbol() {
  static const c10::Symbol symbol =
      registerOperator("gradient_in_rows(Tensor(a) tensor) -> Tensor(a)", runGradientInRows);
  return symbol;
}

Value* insert(c10::Symbol symbol, Value* value, Node* before) {
  torch::jit::Graph& graph = *value->owningGraph();
  torch::jit::WithInsertPoint here(before);
  Node* node = graph.insertNode(graph.create(symbol, {value}, 1));
  node->output()->setType(value->type());
  return node->output();
}

}  // namespace

void layNormGradientsInRows(std::shared_ptr<torch::jit::Graph>& graph) {
  std::vector<Node*> norms;
  forEachNode(graph->block(), [&](Node* node) {
    if (node->kind() == c10::aten::batch_norm || node->kind() == c10::aten::instance_norm)
      norms.push_back(node);
  });
  for (Node* norm : norms) {
    norm->replaceInput(0, insert(inRowsSymbol(), norm->input(0), norm));
    Value* rows = insert(gradientInRowsSymbol(), norm->output(), norm->next());
    norm->output()->replaceAllUsesAfterNodeWith(rows->node(), rows);
  }
}

}  // namespace gradcam
