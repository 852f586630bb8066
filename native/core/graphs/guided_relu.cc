#include "core/graphs/guided_relu.h"

#include <limits>
#include <optional>

#include "core/script/graph_walk.h"
#include "core/script/own_operators.h"

namespace gradcam {
namespace {

using torch::jit::Node;

// ReLU, and ReLU6 and its kind: kept between 0 and `limit`, which is infinite for a plain ReLU.
struct GuidedRelu : torch::autograd::Function<GuidedRelu> {
  static at::Tensor forward(torch::autograd::AutogradContext* context,
                            const at::Tensor& input,
                            double limit) {
    const at::Tensor output = input.clamp(0, limit);
    context->save_for_backward({(output > 0).logical_and(output < limit)});
    return output;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const at::Tensor passes = context->get_saved_variables().at(0);
    return {gradients.at(0).relu() * passes.to(gradients.at(0).scalar_type()), at::Tensor()};
  }
};

void runGuidedRelu(torch::jit::Stack& stack) {
  const double limit = torch::jit::pop(stack).toDouble();
  const at::Tensor input = torch::jit::pop(stack).toTensor();
  torch::jit::push(stack, GuidedRelu::apply(input, limit));
}

const c10::Symbol& guidedReluSymbol() {
  static const c10::Symbol symbol =
      registerOperator("guided_relu(Tensor input, float limit) -> Tensor", runGuidedRelu);
  return symbol;
}

// The limit of a ReLU or of one that is clipped, nothing for other nodes.
std::optional<double> limitOf(const Node* node) {
  static const auto symbols = [](const char* name) {
    return std::pair(c10::Symbol::fromQualString(std::string("aten::") + name),
                     c10::Symbol::fromQualString(std::string("aten::") + name + "_"));
  };
  static const auto relu = symbols("relu"), relu6 = symbols("relu6"), hardtanh = symbols("hardtanh");
  const auto is = [&](const auto& pair) { return node->kind() == pair.first || node->kind() == pair.second; };
  if (is(relu)) return std::numeric_limits<double>::infinity();
  if (is(relu6)) return 6;
  if (!is(hardtanh)) return std::nullopt;
  const auto least = torch::jit::constant_as<at::Scalar>(node->input(1));
  const auto limit = torch::jit::constant_as<at::Scalar>(node->input(2));
  if (!least || !limit || least->toDouble() != 0) return std::nullopt;
  return limit->toDouble();
}

void replaceRelu(Node* node) {
  const std::optional<double> limit = limitOf(node);
  if (!limit) return;
  const std::string name = node->kind().toUnqualString();
  const bool inPlace = name.back() == '_';
  torch::jit::Graph& graph = *node->owningGraph();
  torch::jit::WithInsertPoint here(node);
  torch::jit::Value* bound = graph.insertConstant(*limit);
  Node* guided = graph.insertNode(graph.create(guidedReluSymbol(), {node->input(0), bound}, 1));
  torch::jit::Value* result = guided->output();
  if (inPlace) {  // what reads the input later, also through another view of it, reads the result
    const c10::Symbol copy = c10::Symbol::fromQualString("aten::copy_");
    result = graph.insertNode(graph.create(copy, {node->input(0), result, graph.insertConstant(false)}, 1))
                 ->output();
  }
  node->output()->replaceAllUsesWith(result);
  node->destroy();
}

}  // namespace

void replaceReluByGuidedRelu(std::shared_ptr<torch::jit::Graph>& graph) {
  forEachNode(graph->block(), replaceRelu);
}

}  // namespace gradcam
