#include "core/norm_gradients.h"

#include "core/graph_walk.h"
#include "core/operator_names.h"

namespace gradcam {
namespace {

using torch::jit::Node;
using torch::jit::Value;

// Hands on a tensor and its gradient, each in rows.
struct InRows : torch::autograd::Function<InRows> {
  static at::Tensor forward(torch::autograd::AutogradContext*, const at::Tensor& input) {
    return input.is_contiguous() ? input.alias() : input.contiguous();
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext*,
                                                 const torch::autograd::variable_list& gradients) {
    return {gradients.at(0).defined() ? gradients.at(0).contiguous() : at::Tensor()};
  }
};

void runInRows(torch::jit::Stack& stack) {
  const at::Tensor input = torch::jit::pop(stack).toTensor();
  const bool matters = input.is_cpu() && input.dim() > 2 && input.size(0) == 1 && input.requires_grad() &&
                       at::GradMode::is_enabled();
  torch::jit::push(stack, matters ? InRows::apply(input) : input);
}

const c10::Symbol& inRowsSymbol() {
  static const torch::jit::RegisterOperators registered(
      {torch::jit::Operator(operatorName("in_rows") + "(Tensor(a) tensor) -> Tensor(a)", runInRows,
                            c10::AliasAnalysisKind::FROM_SCHEMA)});
  static const c10::Symbol symbol = operatorSymbol("in_rows");
  return symbol;
}

Value* insertInRows(Value* value, Node* before) {
  torch::jit::Graph& graph = *value->owningGraph();
  torch::jit::WithInsertPoint here(before);
  Node* node = graph.insertNode(graph.create(inRowsSymbol(), {value}, 1));
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
    norm->replaceInput(0, insertInRows(norm->input(0), norm));
    Value* rows = insertInRows(norm->output(), norm->next());
    norm->output()->replaceAllUsesAfterNodeWith(rows->node(), rows);
  }
}

}  // namespace gradcam
