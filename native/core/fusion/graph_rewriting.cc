#include "core/fusion/graph_rewriting.h"

#include "core/script/graph_walk.h"

namespace gradcam {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

Node* onlyUser(const Value* value) {
  if (value->uses().size() != 1) return nullptr;
  Node* user = value->uses()[0].user;
  return user->owningBlock() == value->node()->owningBlock() ? user : nullptr;
}

Value* otherTerm(const Node* node, const Value* term) {
  if (!node->matches("aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor"))
    return nullptr;
  const auto alpha = torch::jit::toIValue(node->input(2));
  if (!alpha || !alpha->isInt() || alpha->toInt() != 1) return nullptr;
  if (node->input(0) == node->input(1)) return nullptr;
  return node->input(0) == term ? node->input(1) : node->input(0);
}

GraphRewriter::GraphRewriter(const std::shared_ptr<Graph>& graph,
                             SharedWeights& weights,
                             PlanDescription& facts)
    : graph_(*graph), weights_(weights), facts_(facts) {
  const torch::jit::AliasDb aliases(graph);
  const auto remember = [&](const Value* value) {
    if (aliases.hasWriters(value)) rewritten_.insert(value);
  };
  for (const Value* input : graph->inputs()) remember(input);
  forEachNode(graph->block(), [&](Node* node) {
    for (const Value* output : node->outputs()) remember(output);
  });
}

void GraphRewriter::replaceNamed(const std::vector<Node*>& chain,
                                 c10::Symbol symbol,
                                 const std::string& name,
                                 c10::IValue capsule,
                                 std::vector<Value*> inputs) {
  Value* handle = graph_.addInput(name);
  handle->setType(c10::CapsuleType::get());
  capsules_.push_back(std::move(capsule));

  const torch::jit::WithInsertPoint here(chain.back());
  for (Value*& input : inputs) {
    if (input == nullptr) input = graph_.insertConstant(c10::IValue());
  }
  inputs.insert(inputs.begin(), handle);
  Node* fused = graph_.insertNode(graph_.create(symbol, inputs, 1));
  if (isRewritten(chain.back()->output())) rewritten_.insert(fused->output());
  chain.back()->output()->replaceAllUsesWith(fused->output());
  for (auto node = chain.rbegin(); node != chain.rend(); ++node) (*node)->destroy();
}

}  // namespace gradcam
