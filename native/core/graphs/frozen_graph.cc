#include "core/graphs/frozen_graph.h"

#include <algorithm>
#include <map>
#include <set>

#include "core/graphs/in_place_writes.h"
#include "core/script/graph_walk.h"
#include "core/script/module_paths.h"

namespace gradcam {
namespace {

using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Node;

// Attributes that the graph writes do not stay what they are. Tells whether there were any.
template <typename IsWanted>
bool attributesToConstants(const std::shared_ptr<Graph>& shared,
                           const torch::jit::Module& module,
                           const IsWanted& isWanted) {
  Graph& graph = *shared;
  const auto written = writtenAttributes(shared);
  bool found = false;
  forEachNode(graph.block(), [&](Node* node) {
    if (node->kind() != c10::prim::GetAttr || written.count(node->s(c10::attr::name)) > 0) return;
    if (!node->hasUses()) return;
    const auto path = attributePath(node->output());
    if (!path) return;
    const c10::IValue value = valueAtPath(module, *path);
    if (value.isModule() || !isWanted(value)) return;
    torch::jit::WithInsertPoint here(node);
    if (const auto constant = torch::jit::tryInsertConstant(graph, value)) {
      node->output()->replaceAllUsesWith(*constant);
      found = true;
    }
  });
  return found;
}

// The number of dimensions of what a convolution gives for a batch, seen through what changes no shape.
std::optional<int64_t> knownRank(const torch::jit::Value* value) {
  static const std::map<std::string, int64_t> ranks = {
      {"aten::conv1d", 3}, {"aten::conv2d", 4}, {"aten::conv3d", 5}};
  static const std::set<std::string> shapeless = {
      "aten::batch_norm", "aten::relu",        "aten::relu_",       "aten::relu6",      "aten::relu6_",
      "aten::silu",       "aten::silu_",       "aten::hardswish",   "aten::hardswish_", "aten::gelu",
      "aten::hardtanh",   "aten::hardtanh_",   "aten::hardsigmoid", "aten::sigmoid",    "aten::tanh",
      "aten::leaky_relu", "aten::leaky_relu_",
  };
  while (true) {
    const std::string kind = value->node()->kind().toQualString();
    if (const auto rank = ranks.find(kind); rank != ranks.end()) return rank->second;
    if (shapeless.count(kind) == 0) return std::nullopt;
    value = value->node()->input(0);
  }
}

// Nothing else happens in it.
bool onlyCompares(const Block* block) {
  return std::all_of(block->nodes().begin(), block->nodes().end(), [](const Node* node) {
    return node->kind() == c10::aten::dim || node->kind() == c10::aten::ne || node->kind() == c10::aten::eq ||
           node->kind() == c10::prim::Constant;
  });
}

bool raises(const Block* block) {
  for (const Node* node : block->nodes()) {
    if (node->kind() == c10::prim::RaiseException) return true;
  }
  return false;
}

// Only decides whether the model complains: at once, or as a part of such a condition, where `a and b` is a
// branch that gives one of them.
bool decidesOnlyComplaints(const torch::jit::Value* condition) {
  return std::all_of(condition->uses().begin(), condition->uses().end(), [](const torch::jit::Use& use) {
    const Node* user = use.user;
    if (user->kind() == c10::prim::Return && user->owningBlock()->owningNode() != nullptr) {
      const Node* branch = user->owningBlock()->owningNode();
      return branch->kind() == c10::prim::If && decidesOnlyComplaints(branch->outputs()[use.offset]);
    }
    if (user->kind() != c10::prim::If) return false;
    if (raises(user->blocks()[0]) || raises(user->blocks()[1])) return true;
    const auto outputs = user->outputs();
    return !outputs.empty() && std::all_of(outputs.begin(), outputs.end(), decidesOnlyComplaints) &&
           std::all_of(user->blocks().begin(), user->blocks().end(), onlyCompares);
  });
}

// Whether a number is only compared, and decides only whether the model complains.
bool isOnlyChecked(const torch::jit::Value* value) {
  return std::all_of(value->uses().begin(), value->uses().end(), [](const torch::jit::Use& use) {
    const Node* comparison = use.user;
    return (comparison->kind() == c10::aten::ne || comparison->kind() == c10::aten::eq) &&
           decidesOnlyComplaints(comparison->output());
  });
}

// BatchNorm's scripted forward checks the rank of its input, and while something asks, a convolution's result
// has two uses and BatchNorm cannot be folded into it. Only such checks: a convolution takes an image without
// a batch, too, and a model may ask which it was given.
bool ranksToConstants(Graph& graph) {
  bool found = false;
  forEachNode(graph.block(), [&](Node* node) {
    if (node->kind() != c10::aten::dim || !node->hasUses() || !isOnlyChecked(node->output())) return;
    const auto rank = knownRank(node->input(0));
    if (!rank) return;
    torch::jit::WithInsertPoint here(node);
    node->output()->replaceAllUsesWith(graph.insertConstant(*rank));
    found = true;
  });
  return found;
}

bool hasBranches(const Graph& graph) {
  return std::any_of(graph.nodes().begin(), graph.nodes().end(),
                     [](const Node* node) { return !node->blocks().empty(); });
}

}  // namespace

void foldSettings(std::shared_ptr<Graph>& graph, const torch::jit::Module& module) {
  attributesToConstants(graph, module, [](const c10::IValue& value) {
    return value.isBool() || value.isInt() || value.isDouble() || value.isString() || value.isNone();
  });
  torch::jit::ConstantPropagation(graph);
}

void freezeGraph(std::shared_ptr<Graph>& graph, const torch::jit::Module& module) {
  // A branch folded away may have held the only write of an attribute, which decides on the next branch, or
  // have hidden the convolution that a BatchNorm follows. What became a constant is gone the next time.
  const bool branches = hasBranches(*graph);
  bool changed = true;
  do {
    const bool attributes = attributesToConstants(graph, module, [](const c10::IValue&) { return true; });
    const bool ranks = ranksToConstants(*graph);
    changed = attributes || ranks;
    const bool folded = torch::jit::ConstantPropagation(graph);  // which leaves no dead code, then
    if (changed && !folded) torch::jit::EliminateDeadCode(graph);
  } while (changed && branches);
}

}  // namespace gradcam
