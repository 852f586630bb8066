#include "core/graphs/graph_split.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "core/script/graph_walk.h"

namespace gradcam {
namespace {

using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

using ValueMap = std::unordered_map<Value*, Value*>;

// Copies nodes into a graph, with their constants, and finds the values they need that are not there.
class PartCopier {
 public:
  explicit PartCopier(Graph& target) : target_(target) {}

  void declareInput(Value* value) { map_[value] = target_.addInput()->copyMetadata(value); }

  void copy(Node* node) {
    Node* clone =
        target_.insertNode(target_.createClone(node, [this](Value* value) { return mapped(value); }));
    for (std::size_t index = 0; index < node->outputs().size(); ++index) {
      map_[node->outputs()[index]] = clone->outputs()[index];
    }
  }

  Value* mapped(Value* value) {
    if (const auto found = map_.find(value); found != map_.end()) return found->second;
    Node* constant = value->node();
    TORCH_INTERNAL_ASSERT(constant->kind() == c10::prim::Constant, "a value did not cross the cut");
    torch::jit::WithInsertPoint atTheStart(*target_.nodes().begin());
    Node* clone = target_.insertNode(target_.createClone(constant, [](Value* input) { return input; }));
    return map_[value] = clone->output();
  }

 private:
  Graph& target_;
  ValueMap map_;
};

// Values used by `node` or inside its blocks.
void collectUses(Node* node, std::vector<Value*>& uses) {
  forEachNodeOf(node, [&](Node* each) {
    uses.insert(uses.end(), each->inputs().begin(), each->inputs().end());
    for (Block* block : each->blocks())
      uses.insert(uses.end(), block->outputs().begin(), block->outputs().end());
  });
}

// Tells the sizes of a tensor, which must be handed over for it.
bool isOfSizes(const Node* node) {
  const std::string kind = node->kind().toQualString();
  return kind == "aten::size" || kind == "aten::dim" || kind == "aten::numel";
}

// Writes that change more than what is in a tensor.
bool changesSizes(const Node* node) {
  static const std::unordered_set<std::string> kinds = {
      "aten::resize_",    "aten::resize_as_", "aten::set_",       "aten::as_strided_", "aten::squeeze_",
      "aten::unsqueeze_", "aten::t_",         "aten::transpose_", "aten::swapaxes_",   "aten::swapdims_"};
  return kinds.count(node->kind().toQualString()) > 0;
}

bool isOnSizes(const Node* node) {
  static const std::unordered_set<std::string> kinds = {
      "aten::len",
      "prim::NumToTensor",
      "aten::Int",
      "aten::add",
      "aten::sub",
      "aten::mul",
      "aten::floor_divide",
      "aten::floordiv",
      "prim::ListConstruct",
      "aten::__getitem__",
      "aten::ScalarImplicit",
      "prim::ListUnpack",
      "prim::TupleConstruct",
      "prim::TupleUnpack",
      "aten::div",
      "aten::floor",
      "aten::ceil",
      "aten::neg",
      "aten::remainder",
      "prim::min",
      "prim::max",
      "aten::slice",
  };
  return kinds.count(node->kind().toQualString()) > 0;
}

// Arithmetic on sizes, which is cheaper to repeat than to hand over, and which must be repeated where the
// tail runs on more rows than the prefix did.
class SizeArithmetic {
 public:
  SizeArithmetic(Graph& graph, const torch::jit::AliasDb& aliases) : aliases_(aliases) {
    forEachNode(graph.block(), [this](Node* node) {
      if (changesSizes(node)) resized_.push_back(node->input(0));
    });
  }

  // The operations in front of the cut that only the sizes behind it need, each after those it needs.
  std::vector<Node*> before(const std::vector<Value*>& crossing) {
    for (Value* value : crossing) collect(value);
    return std::move(repeated_);
  }

 private:
  void collect(Value* value) {
    Node* node = value->node();
    if (node->kind() == c10::prim::Constant || node->kind() == c10::prim::Param || !canRepeat(value)) return;
    if (!seen_.insert(node).second) return;
    if (!isOfSizes(node)) {
      for (Value* input : node->inputs()) collect(input);
    }
    repeated_.push_back(node);
  }

  bool canRepeat(const Value* value) const {
    const Node* node = value->node();
    if (node->kind() == c10::prim::Constant) return !value->type()->isSubtypeOf(*c10::TensorType::get());
    if (isOfSizes(node)) return !isResized(node->input(0));
    if (!isOnSizes(node)) return false;
    if (aliases_.hasWriters(node)) return false;  // a list that is appended to is more than what made it
    return std::all_of(node->inputs().begin(), node->inputs().end(),
                       [this](const Value* input) { return canRepeat(input); });
  }

  // Behind the cut it may have other sizes than when it was asked. (Other writes leave sizes what they are.)
  bool isResized(const Value* tensor) const {
    return std::any_of(resized_.begin(), resized_.end(),
                       [&](const Value* each) { return aliases_.mayAlias(tensor, each); });
  }

  const torch::jit::AliasDb& aliases_;
  std::vector<const Value*> resized_;
  std::unordered_set<const Node*> seen_;
  std::vector<Node*> repeated_;
};

std::vector<Value*> findCrossingValues(Graph& graph, Node* cut) {
  std::unordered_set<const Value*> before(graph.inputs().begin(), graph.inputs().end());
  for (Node* node : graph.nodes()) {
    if (node == cut) break;
    if (node->kind() == c10::prim::Constant) continue;
    before.insert(node->outputs().begin(), node->outputs().end());
  }
  std::vector<Value*> uses;
  for (Node* node = cut; node != graph.return_node(); node = node->next()) collectUses(node, uses);
  collectUses(graph.return_node(), uses);

  std::vector<Value*> crossing;
  std::unordered_set<const Value*> seen;
  for (Value* value : uses) {
    if (before.count(value) > 0 && seen.insert(value).second) crossing.push_back(value);
  }
  return crossing;
}

// What must be handed over once some operations are repeated behind the cut: their inputs instead of their
// results.
std::vector<Value*> withoutRepeated(const std::vector<Value*>& crossing, const std::vector<Node*>& repeated) {
  const std::unordered_set<const Node*> isRepeated(repeated.begin(), repeated.end());
  std::vector<Value*> handedOver;
  std::unordered_set<const Value*> seen;
  const auto add = [&](Value* value) {
    const bool needed = isRepeated.count(value->node()) == 0 && value->node()->kind() != c10::prim::Constant;
    if (needed && seen.insert(value).second) handedOver.push_back(value);
  };
  for (Value* value : crossing) add(value);
  for (Node* node : repeated) {
    for (Value* input : node->inputs()) add(input);
  }
  return handedOver;
}

bool tailWritesToShared(const std::vector<Value*>& crossing, const torch::jit::AliasDb& aliases) {
  for (Value* value : crossing) {
    if (!aliases.hasWriters(value)) continue;
    for (Value* other : crossing) {
      if (other != value && aliases.mayAlias(value, other)) return true;
    }
  }
  return false;
}

}  // namespace

SplitGraph splitGraph(const std::shared_ptr<Graph>& graph, Node* cut) {
  std::vector<Value*> crossing = findCrossingValues(*graph, cut);
  const torch::jit::AliasDb aliases(graph);
  const std::vector<Node*> repeated = SizeArithmetic(*graph, aliases).before(crossing);
  crossing = withoutRepeated(crossing, repeated);
  SplitGraph split{std::make_shared<Graph>(), std::make_shared<Graph>(),
                   tailWritesToShared(crossing, aliases)};

  PartCopier prefix(*split.prefix);
  for (Value* input : graph->inputs()) prefix.declareInput(input);
  PartCopier tail(*split.tail);
  for (Value* value : crossing) tail.declareInput(value);
  for (Node* node : repeated) tail.copy(node);

  bool inPrefix = true;
  for (Node* node : graph->nodes()) {
    if (node == cut) inPrefix = false;
    if (node->kind() == c10::prim::Constant) continue;  // copied where it is used
    (inPrefix ? prefix : tail).copy(node);
  }
  for (Value* value : crossing) split.prefix->registerOutput(prefix.mapped(value));
  for (Value* output : graph->outputs()) split.tail->registerOutput(tail.mapped(output));
  torch::jit::EliminateDeadCode(split.prefix->block());  // writes stay; to tell which matter takes long
  return split;
}

}  // namespace gradcam
