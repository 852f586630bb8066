#include "core/frozen_graph.h"

#include <map>
#include <set>

#include "core/module_paths.h"

namespace gradcam {
namespace {

using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Node;

template <typename Visit>
void forEachNode(Block* block, const Visit& visit) {
  for (auto it = block->nodes().begin(); it != block->nodes().end();) {
    Node* node = *it++;  // visiting may remove the node
    for (Block* inner : node->blocks()) forEachNode(inner, visit);
    visit(node);
  }
}

// Attributes that the graph writes do not stay what they are.
std::set<std::string> writtenAttributes(Graph& graph) {
  std::set<std::string> names;
  forEachNode(graph.block(), [&](const Node* node) {
    if (node->kind() == c10::prim::SetAttr) names.insert(node->s(c10::attr::name));
  });
  return names;
}

void attributesToConstants(Graph& graph, const torch::jit::Module& module) {
  const auto written = writtenAttributes(graph);
  forEachNode(graph.block(), [&](Node* node) {
    if (node->kind() != c10::prim::GetAttr || written.count(node->s(c10::attr::name)) > 0) return;
    const auto path = attributePath(node->output());
    if (!path) return;
    const c10::IValue value = valueAtPath(module, *path);
    if (value.isModule()) return;
    torch::jit::WithInsertPoint here(node);
    if (const auto constant = torch::jit::tryInsertConstant(graph, value)) {
      node->output()->replaceAllUsesWith(*constant);
    }
  });
}

// The number of dimensions of what a convolution, or something elementwise behind one, gives for a batch.
std::optional<int64_t> knownRank(const torch::jit::Value* value) {
  static const std::map<std::string, int64_t> ranks = {
      {"aten::conv1d", 3},     {"aten::conv2d", 4},     {"aten::conv3d", 5},
      {"aten::max_pool2d", 4}, {"aten::avg_pool2d", 4}, {"aten::adaptive_avg_pool2d", 4},
  };
  static const std::set<std::string> elementwise = {
      "aten::batch_norm", "aten::relu",    "aten::relu_", "aten::relu6",      "aten::relu6_",
      "aten::silu",       "aten::silu_",   "aten::add",   "aten::add_",       "aten::hardswish",
      "aten::hardswish_", "aten::gelu",    "aten::mul",   "aten::mul_",       "aten::hardtanh",
      "aten::hardtanh_",  "aten::sigmoid", "aten::tanh",  "aten::leaky_relu", "aten::leaky_relu_",
  };
  while (true) {
    const std::string kind = value->node()->kind().toQualString();
    if (const auto rank = ranks.find(kind); rank != ranks.end()) return rank->second;
    if (elementwise.count(kind) == 0) return std::nullopt;
    value = value->node()->input(0);
  }
}

// BatchNorm's scripted forward asks for the rank of its input, and while something asks, a convolution's
// result has two uses and BatchNorm cannot be folded into it.
void ranksToConstants(Graph& graph) {
  forEachNode(graph.block(), [&](Node* node) {
    if (node->kind() != c10::aten::dim) return;
    const auto rank = knownRank(node->input(0));
    if (!rank) return;
    torch::jit::WithInsertPoint here(node);
    node->output()->replaceAllUsesWith(graph.insertConstant(*rank));
  });
}

}  // namespace

void freezeGraph(std::shared_ptr<Graph>& graph, const torch::jit::Module& module) {
  // Folding a branch away can remove the only write of an attribute.
  for (int round = 0; round < 2; ++round) {
    attributesToConstants(*graph, module);
    ranksToConstants(*graph);
    torch::jit::ConstantPropagation(graph);
    torch::jit::EliminateDeadCode(graph);
  }
}

}  // namespace gradcam
