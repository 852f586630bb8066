#include "core/graphs/in_place_writes.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include <torch/csrc/jit/passes/lower_tuples.h>

#include "core/graphs/shared_memory.h"
#include "core/hooks/forward_hooks.h"
#include "core/script/graph_walk.h"
#include "core/script/operator_arguments.h"
#include "core/script/own_operators.h"

namespace gradcam {
namespace {

using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

void runOwn(torch::jit::Stack& stack) {
  const c10::IValue value = torch::jit::pop(stack);
  torch::jit::push(stack, value.isTensor() ? c10::IValue(value.toTensor().clone()) : value.deepcopy());
}

// A copy.
const c10::Symbol& ownSymbol() {
  static const c10::Symbol symbol = registerOperator("own(t value) -> t", runOwn);
  return symbol;
}

bool isTensor(const Value* value) {
  return value->type()->isSubtypeOf(*c10::TensorType::get());
}

// BatchNorm's schema does not tell that it writes its statistics while it trains.
bool trains(const Node* node) {
  if (node->kind() != c10::aten::batch_norm && node->kind() != c10::aten::instance_norm) return false;
  const char* flag = node->kind() == c10::aten::batch_norm ? "training" : "use_input_stats";
  return constantInput(node, flag) != c10::IValue(false);
}

// The values that a node writes into.
std::vector<Value*> writtenBy(Node* node) {
  if (trains(node)) return {node->namedInput("running_mean"), node->namedInput("running_var")};
  return writtenInputs(node);
}

std::vector<Value*> allWritten(Graph& graph) {
  std::vector<Value*> written;
  forEachNode(graph.block(), [&](Node* node) {
    for (Value* value : writtenBy(node)) written.push_back(value);
  });
  return written;
}

bool mayReach(const torch::jit::AliasDb& aliases, Value* value, const std::vector<Value*>& written) {
  return std::any_of(written.begin(), written.end(), [&](Value* each) {
    return aliases.mayAlias(value, each) || aliases.mayContainAlias(value, each);
  });
}

// The inputs whose memory an output of the node may share.
std::vector<Value*> sharedInputs(Node* node) {
  const auto* schema = node->maybeSchema();
  if (schema == nullptr) return {node->inputs().begin(), node->inputs().end()};
  std::vector<Value*> shared;
  for (const c10::Argument& result : schema->returns()) {
    if (result.alias_info() == nullptr) continue;
    forEachArgument(node, [&](const c10::Argument& argument, std::size_t index) {
      // What is taken from a list has no set of its own: any input may hold it.
      const auto* alias = argument.alias_info();
      const bool same = alias != nullptr && alias->beforeSets() == result.alias_info()->beforeSets();
      if (same || result.alias_info()->isWildcardBefore()) shared.push_back(node->input(index));
    });
  }
  return shared;
}

bool isNumber(const c10::TypePtr& type) {
  const auto kind = type->kind();
  return kind == c10::TypeKind::BoolType || kind == c10::TypeKind::IntType ||
         kind == c10::TypeKind::FloatType || kind == c10::TypeKind::StringType ||
         kind == c10::TypeKind::NoneType;
}

// The attributes of the model that a value may be, or lie in.
void collectAttributes(Value* value, std::unordered_set<Value*>& seen, std::set<std::string>& names) {
  // Nothing writes into a number: the condition of a branch is not what the branch gives.
  if (isNumber(value->type()) || !seen.insert(value).second) return;
  Node* node = value->node();
  if (node->kind() == c10::prim::GetAttr) {
    names.insert(node->s(c10::attr::name));
    return;
  }
  std::vector<Value*> sources;
  if (node->kind() == c10::prim::Param) {  // what a loop carries, or a branch sees
    if (Node* owner = node->owningBlock()->owningNode())
      sources = {owner->inputs().begin(), owner->inputs().end()};
  } else if (node->blocks().empty()) {
    sources = sharedInputs(node);
  } else {
    sources = {node->inputs().begin(), node->inputs().end()};
    for (Block* block : node->blocks())
      sources.insert(sources.end(), block->outputs().begin(), block->outputs().end());
  }
  for (Value* source : sources) collectAttributes(source, seen, names);
}

// Which of the parts that unbind() gave a node takes from their list.
std::optional<int64_t> positionInUnbound(const Node* node) {
  if (node->kind() != c10::aten::__getitem__ || node->input(0)->node()->kind() != c10::aten::unbind)
    return std::nullopt;
  const auto position = torch::jit::toIValue(node->input(1));
  return position ? std::optional(position->toInt()) : std::nullopt;
}

// Another view of a tensor's memory, always: reshape() and contiguous() copy for some layouts.
bool isView(const Node* node) {
  static const std::unordered_set<std::string> kinds = {"aten::view",
                                                        "aten::view_as",
                                                        "aten::expand",
                                                        "aten::expand_as",
                                                        "aten::permute",
                                                        "aten::transpose",
                                                        "aten::t",
                                                        "aten::select",
                                                        "aten::slice",
                                                        "aten::narrow",
                                                        "aten::unsqueeze",
                                                        "aten::squeeze",
                                                        "aten::movedim",
                                                        "aten::swapaxes",
                                                        "aten::unfold",
                                                        "aten::diagonal",
                                                        "aten::unflatten",
                                                        "aten::alias",
                                                        "aten::detach",
                                                        "aten::chunk",
                                                        "aten::tensor_split",
                                                        "aten::split",
                                                        "aten::split_with_sizes",
                                                        "aten::unbind",
                                                        "prim::ListUnpack"};
  return kinds.count(node->kind().toQualString()) > 0;
}

// Makes one write act on a copy of the tensor that its views share.
class CopyOnWrite {
 public:
  CopyOnWrite(const std::shared_ptr<Graph>& graph, Node* write, Value* target)
      : shared_(graph), graph_(*graph), write_(write), target_(target) {}

  bool apply() {
    base_ = baseOf(target_);
    if (base_ == nullptr) return false;
    if (!findLaterViews()) return false;
    torch::jit::WithInsertPoint before(write_);
    // Of a layer's output the value that its hook gives: what comes of the copy hangs on that.
    std::vector<Value*> same = {base_};
    while (Value* marked = markBehind(same.back())) same.push_back(marked);
    Node* own = graph_.insertNode(graph_.create(ownSymbol(), {same.back()}, 1));
    own->output()->setType(base_->type());
    for (Value* each : same) replayed_[each] = own->output();
    for (std::size_t index = 0; index < write_->inputs().size(); ++index) {
      if (write_->input(index) == target_) write_->replaceInput(index, replay(target_));
    }
    torch::jit::WithInsertPoint behind(write_->next());
    for (Value* view : laterViews_) {
      Value* copy = replay(view);
      view->replaceAllUsesAfterNodeWith(copy->node()->isAfter(write_) ? copy->node() : write_, copy);
    }
    return true;
  }

 private:
  // Where the value is a layer's output, what its mark gives.
  Value* markBehind(const Value* value) const {
    for (const torch::jit::Use& use : value->uses()) {
      if (use.user->kind() == markSymbol() && use.user->owningBlock() == write_->owningBlock() &&
          use.user->isBefore(write_))
        return use.user->output();
    }
    return nullptr;
  }

  // The tensor that a chain of views begins with; none where the chain is not all in the write's block.
  // Where a layer gives a view, what it gives: its hook is not to be gone round.
  Value* baseOf(Value* value) const {
    while (true) {
      Node* node = value->node();
      const bool marks = node->kind() == markSymbol();
      if (!marks && !isView(node)) break;
      if (node->owningBlock() != write_->owningBlock()) return nullptr;
      if (marks && isView(node->input(0)->node())) break;
      value = node->input(0);
    }
    const Node* origin = value->node();
    if (!isTensor(value) || origin->owningBlock() != write_->owningBlock() || !origin->blocks().empty())
      return nullptr;
    return value;
  }

  // What shares the memory and is read after the write. False where such a value is not a view of the base.
  bool findLaterViews() {
    const auto sharing = valuesSharing(target_);
    std::optional<torch::jit::AliasDb> aliases;
    if (!sharing) aliases.emplace(shared_);  // after what can be told without it, for it takes its time
    const auto holds = [&](Value* value) {
      if (sharing) return sharing->count(value) > 0;
      return isTensor(value) ? aliases->mayAlias(value, target_) : aliases->mayContainAlias(value, target_);
    };
    for (Node* node : write_->owningBlock()->nodes()) {
      if (node == write_) break;
      for (Value* output : node->outputs()) {
        if (!holds(output) || !isReadAfter(output)) continue;
        if (baseOf(output) != base_ || !isTensor(output)) return false;
        laterViews_.push_back(output);
      }
    }
    // Nor may anything outside hold it: the model, a list that a loop appends to.
    for (Block* block = write_->owningBlock();;) {
      if (std::any_of(block->inputs().begin(), block->inputs().end(), holds)) return false;
      Node* owner = block->owningNode();
      if (owner == nullptr) break;
      block = owner->owningBlock();
      for (Node* node : block->nodes()) {
        if (node == owner && owner->kind() == c10::prim::If)
          continue;  // gives what its block returns: the copy
        if (std::any_of(node->outputs().begin(), node->outputs().end(), holds)) return false;
      }
    }
    return true;
  }

  bool isReadAfter(const Value* value) const {
    return std::any_of(value->uses().begin(), value->uses().end(), [&](const torch::jit::Use& use) {
      const Node* user = use.user;
      while (user->owningBlock() != write_->owningBlock()) {
        user = user->owningBlock()->owningNode();
        if (user == nullptr) return true;
      }
      return user == write_->owningBlock()->return_node() || user->isAfter(write_);
    });
  }

  // The same view of the copy.
  Value* replay(Value* value) {
    if (const auto known = replayed_.find(value); known != replayed_.end()) return known->second;
    Node* node = value->node();
    if (const auto position = positionInUnbound(node)) {
      Node* unbinding = node->input(0)->node();
      Value* whole = replay(unbinding->input(0));
      Value* axis = unbinding->namedInput("dim");
      return replayed_[value] = graph_.insert(c10::aten::select, {whole, axis, *position});
    }
    const bool unpacks = node->kind() == c10::prim::ListUnpack;
    if (unpacks) return replayed_[value] = replayPart(value);
    Value* input = replay(node->input(0));
    Node* clone = graph_.insertNode(
        graph_.createClone(node, [&](Value* each) { return each == node->input(0) ? input : each; }));
    return replayed_[value] = clone->output();
  }

  // One of the parts that chunk, split or unbind gave, by an operation of its own: autograd refuses writes
  // into one of several views.
  Value* replayPart(Value* part) {
    Node* splitting = part->node()->input(0)->node();
    Value* whole = replay(splitting->input(0));
    Value* axis = splitting->namedInput("dim");
    const auto run = [&](const char* name, const std::vector<torch::jit::NamedValue>& arguments) {
      return graph_.insert(c10::Symbol::fromQualString(name), arguments);
    };
    const auto position = static_cast<int64_t>(part->offset());
    if (splitting->kind() == c10::aten::unbind) return run("aten::select", {whole, axis, position});
    Value* start = graph_.insertConstant(static_cast<int64_t>(0));
    for (int64_t before = 0; before < position; ++before) {
      Value* other = part->node()->outputs()[static_cast<std::size_t>(before)];
      start = run("aten::add", {start, run("aten::size", {other, axis})});
    }
    return run("aten::narrow", {whole, axis, start, run("aten::size", {part, axis})});
  }

  const std::shared_ptr<Graph> shared_;
  Graph& graph_;
  Node* write_;
  Value* target_;
  Value* base_ = nullptr;
  std::vector<Value*> laterViews_;
  std::unordered_map<Value*, Value*> replayed_;
};

bool makesTuples(Graph& graph) {
  bool found = false;
  forEachNode(graph.block(),
              [&](const Node* node) { found = found || node->kind() == c10::prim::TupleConstruct; });
  return found;
}

}  // namespace

void ownInputs(std::shared_ptr<Graph>& graph) {
  std::vector<Value*> owned;
  {
    const std::vector<Value*> written = allWritten(*graph);
    if (written.empty()) return;
    const torch::jit::AliasDb aliases(graph);
    for (Value* input : graph->inputs().slice(1)) {
      if (mayReach(aliases, input, written)) owned.push_back(input);
    }
  }
  torch::jit::WithInsertPoint atTheStart(*graph->nodes().begin());
  for (Value* input : owned) {
    Node* own = graph->insertNode(graph->create(ownSymbol(), {input}, 1));
    own->output()->setType(input->type());
    input->replaceAllUsesAfterNodeWith(own, own->output());
  }
}

std::set<std::string> writtenAttributes(const std::shared_ptr<Graph>& graph) {
  std::set<std::string> names;
  std::unordered_set<Value*> seen;
  for (Value* value : allWritten(*graph)) collectAttributes(value, seen, names);
  forEachNode(graph->block(), [&](Node* node) {
    if (node->kind() == c10::prim::SetAttr) names.insert(node->s(c10::attr::name));
  });
  return names;
}

c10::IValue copyWithOwn(const c10::IValue& model, const std::set<std::string>& attributes) {
  std::unordered_map<const c10::ivalue::Object*, c10::IValue> copies;
  const std::function<c10::IValue(const c10::IValue&)> copy = [&](const c10::IValue& value) -> c10::IValue {
    const auto object = value.toObject();
    if (const auto known = copies.find(object.get()); known != copies.end()) return known->second;
    const auto own = object->copy();
    copies.emplace(object.get(), own);
    const auto type = object->type();
    for (std::size_t slot = 0; slot < own->slots().size(); ++slot) {
      const c10::IValue& kept = object->getSlot(slot);
      if (kept.isModule()) {
        own->setSlot(slot, copy(kept));
      } else if (attributes.count(type->getAttributeName(slot)) > 0) {
        own->setSlot(slot, kept.deepcopy());
      }
    }
    return own;
  };
  return copy(model);
}

void removeInPlaceWrites(std::shared_ptr<Graph>& graph) {
  showSharedMemory(graph);
  if (makesTuples(*graph)) torch::jit::LowerSimpleTuples(graph);
  torch::jit::RemoveTensorMutation(graph);
  std::vector<Node*> writes;
  forEachNode(graph->block(), [&](Node* node) {
    const auto written = writtenBy(node);
    if (!trains(node) && written.size() == 1 && isTensor(written[0])) writes.push_back(node);
  });
  for (Node* write : writes) CopyOnWrite(graph, write, writtenBy(write)[0]).apply();
}

}  // namespace gradcam
