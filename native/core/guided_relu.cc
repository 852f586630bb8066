#include "core/guided_relu.h"

#include "core/operator_names.h"

namespace gradcam {
namespace {

using torch::jit::Node;

struct GuidedRelu : torch::autograd::Function<GuidedRelu> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& input) {
    const at::Tensor output = at::relu(input);
    context->save_for_backward({output});
    return output;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const at::Tensor output = context->get_saved_variables().at(0);
    return {gradients.at(0).relu() * (output > 0).to(gradients.at(0).scalar_type())};
  }
};

void runGuidedRelu(torch::jit::Stack& stack) {
  const at::Tensor input = torch::jit::pop(stack).toTensor();
  torch::jit::push(stack, GuidedRelu::apply(input));
}

const c10::Symbol& guidedReluSymbol() {
  static const torch::jit::RegisterOperators registered(
      {torch::jit::Operator(operatorName("guided_relu") + "(Tensor input) -> Tensor", runGuidedRelu,
                            c10::AliasAnalysisKind::FROM_SCHEMA)});
  static const c10::Symbol symbol = operatorSymbol("guided_relu");
  return symbol;
}

void replaceIn(torch::jit::Block* block) {
  for (auto position = block->nodes().begin(); position != block->nodes().end();) {
    Node* node = *position++;
    for (torch::jit::Block* inner : node->blocks()) replaceIn(inner);
    const bool inPlace = node->kind() == c10::aten::relu_;
    if (!inPlace && node->kind() != c10::aten::relu) continue;
    torch::jit::Graph& graph = *node->owningGraph();
    torch::jit::WithInsertPoint here(node);
    Node* guided = graph.insertNode(graph.create(guidedReluSymbol(), {node->input(0)}, 1));
    node->output()->replaceAllUsesWith(guided->output());
    // What reads the rewritten input later, reads the result.
    if (inPlace) node->input(0)->replaceAllUsesAfterNodeWith(node, guided->output());
    node->destroy();
  }
}

}  // namespace

void replaceReluByGuidedRelu(std::shared_ptr<torch::jit::Graph>& graph) {
  replaceIn(graph->block());
}

}  // namespace gradcam
