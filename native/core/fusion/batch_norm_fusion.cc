#include "core/fusion/batch_norm_fusion.h"

#include <algorithm>

#include "core/fusion/fused_batch_norm.h"
#include "core/graphs/operator_layouts.h"
#include "core/script/graph_walk.h"
#include "core/script/operator_arguments.h"

namespace gradcam {
namespace {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

bool isFusableNorm(const Node* node) {
  const auto parameters = FusedBatchNorm::of(node);
  if (!parameters) return false;
  const auto fits = [](const at::Tensor& each) { return each.is_cpu() && each.scalar_type() == at::kFloat; };
  const auto& [mean, variance, weight, bias, epsilon] = *parameters;
  if (!fits(mean) || !fits(variance) || (weight && !fits(*weight)) || (bias && !fits(*bias))) return false;
  // LibTorch folds it into this convolution.
  return !isConvolution(node->input(0)->node()) || node->input(0)->uses().size() > 1;
}

// The list that `node` concatenates along the channels, where nothing else sees it and no part is written to.
Value* channelParts(Node* node, const GraphRewriter& rewriter) {
  if (!node->matches("aten::cat(Tensor[] tensors, int dim=0) -> Tensor") ||
      node->output()->uses().size() != 1 || constantInput(node, "dim") != c10::IValue(1))
    return nullptr;
  Value* list = node->input(0);
  if (list->node()->kind() != c10::prim::ListConstruct || list->uses().size() != 1 ||
      rewriter.isRewritten(list))
    return nullptr;
  const auto parts = list->node()->inputs();
  const bool changes =
      std::any_of(parts.begin(), parts.end(), [&](Value* each) { return rewriter.isRewritten(each); });
  return changes || list->node()->owningBlock() != node->owningBlock() ? nullptr : list;
}

void fuseBatchNorm(Node* norm, Graph& graph, GraphRewriter& rewriter) {
  Value* x = norm->input(0);
  if (rewriter.isRewritten(x)) return;
  std::vector<Node*> chain = {norm};
  Value* parts =
      x->node()->owningBlock() == norm->owningBlock() ? channelParts(x->node(), rewriter) : nullptr;
  if (parts != nullptr) chain.insert(chain.begin(), x->node());
  Node* user = onlyUser(norm->output());
  const bool relu = user != nullptr && user->kind() == c10::aten::relu;
  if (relu) chain.push_back(user);
  if (parts == nullptr) {
    const torch::jit::WithInsertPoint here(chain.back());
    parts = graph.insertNode(graph.createList(c10::TensorType::get(), {x}))->output();
  }
  auto fused = c10::make_intrusive<FusedBatchNorm>(*FusedBatchNorm::of(norm), relu);
  ++rewriter.facts().fusedBatchNorms;
  rewriter.replace(chain, fusedBatchNormSymbol(), std::move(fused), {parts});
}

}  // namespace

void fuseBatchNorms(Graph& graph, GraphRewriter& rewriter) {
  std::vector<Node*> norms;
  forEachNode(graph.block(), [&](Node* node) {
    if (isFusableNorm(node)) norms.push_back(node);
  });
  for (Node* norm : norms) fuseBatchNorm(norm, graph, rewriter);
}

}  // namespace gradcam
