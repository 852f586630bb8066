#include "core/graphs/shared_memory.h"

#include <algorithm>
#include <string>

#include "core/script/graph_walk.h"
#include "core/script/operator_arguments.h"
#include "core/values/tensor_types.h"

namespace gradcam {
namespace {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Use;
using torch::jit::Value;

// They may give what they are given, though their schemas say that they make a new tensor.
bool mayGiveItsInput(const Node* node) {
  static const std::unordered_set<std::string> kinds = {
      "aten::dropout",   "aten::feature_dropout", "aten::alpha_dropout", "aten::feature_alpha_dropout",
      "aten::type_as",   "aten::einsum",          "aten::atleast_1d",    "aten::atleast_2d",
      "aten::atleast_3d"};
  return kinds.count(node->kind().toQualString()) > 0;
}

bool isIdleDropout(const Node* node) {
  static const std::unordered_set<std::string> kinds = {
      "aten::dropout",  "aten::feature_dropout",  "aten::alpha_dropout",  "aten::feature_alpha_dropout",
      "aten::dropout_", "aten::feature_dropout_", "aten::alpha_dropout_", "aten::feature_alpha_dropout_"};
  return kinds.count(node->kind().toQualString()) > 0 && constantInput(node, "train") == c10::IValue(false);
}

bool isTensorValue(const Value* value) {
  return isTensorType(value->type());
}

bool isContainerMade(const Node* node) {
  const auto kind = node->kind();
  return kind == c10::prim::ListConstruct || kind == c10::prim::TupleConstruct ||
         kind == c10::prim::DictConstruct;
}

bool isUnpacking(const Node* node) {
  static const std::unordered_set<std::string> kinds = {
      "prim::ListUnpack", "prim::TupleUnpack",    "prim::TupleIndex",
      "prim::TupleSlice", "prim::unchecked_cast", "prim::unchecked_unwrap_optional",
      "aten::__getitem__"};
  return kinds.count(node->kind().toQualString()) > 0;
}

class Followed {
 public:
  // False where the memory goes somewhere that cannot be followed.
  bool follow(const Value* value) {
    if (!sharing_.insert(value).second) return true;
    return std::all_of(value->uses().begin(), value->uses().end(),
                       [&](const Use& use) { return followUse(value, use); });
  }

  std::unordered_set<const Value*> take() { return std::move(sharing_); }

 private:
  bool followUse(const Value* value, const Use& use) {
    Node* user = use.user;
    if (user->kind() == c10::prim::Return) return followReturned(user, use.offset);
    if (user->kind() == c10::prim::Loop) return followIntoLoop(user, use.offset);
    if (user->kind() == c10::prim::If) return true;  // its condition
    if (isContainerMade(user) || isUnpacking(user)) return followOutputs(user);
    const auto* schema = user->maybeSchema();
    if (schema == nullptr || use.offset >= schema->arguments().size()) return false;
    if (mayGiveItsInput(user)) return followOutputs(user);
    const c10::AliasInfo* argument = schema->arguments()[use.offset].alias_info();
    // A list of tensors may be read, as cat() does, or handed on as a whole.
    if (argument == nullptr) return isTensorValue(value) || givesNewTensors(user) || followOutputs(user);
    if (argument->isWildcardAfter() && !writtenInputs(user).empty()) return false;  // put into a list
    return followOutputs(user);
  }

  static bool givesNewTensors(const Node* node) {
    const auto& returned = node->schema().returns();
    return std::all_of(returned.begin(), returned.end(), [](const c10::Argument& each) {
      const bool tensor = isTensorType(each.type());
      return each.alias_info() == nullptr && (tensor || !mayHoldTensor(each.type()));
    });
  }

  bool followOutputs(const Node* node) {
    return std::all_of(node->outputs().begin(), node->outputs().end(),
                       [&](const Value* output) { return !mayHoldTensor(output->type()) || follow(output); });
  }

  bool followReturned(Node* returning, std::size_t offset) {
    Node* owner = returning->owningBlock()->owningNode();
    if (owner == nullptr) return true;  // the model's result
    if (owner->kind() == c10::prim::If) return follow(owner->outputs()[offset]);
    if (owner->kind() != c10::prim::Loop) return false;
    if (offset == 0) return true;  // whether it goes on
    return follow(owner->outputs()[offset - 1]) && follow(owner->blocks()[0]->inputs()[offset]);
  }

  bool followIntoLoop(Node* loop, std::size_t offset) {
    if (offset < 2) return true;  // how often, and whether at all
    return follow(loop->outputs()[offset - 2]) && follow(loop->blocks()[0]->inputs()[offset - 1]);
  }

  std::unordered_set<const Value*> sharing_;
};

// What an output is, by its operator's schema: the memory of the first input (a view, a write in place), or
// new.
enum class Memory { OfInput, New, Unknown };

Memory memoryOf(const Value* value) {
  const Node* node = value->node();
  if (isUnpacking(node)) return Memory::OfInput;
  const auto* schema = node->maybeSchema();
  if (schema == nullptr || !node->blocks().empty() || mayGiveItsInput(node)) return Memory::Unknown;
  const auto position = static_cast<std::size_t>(
      std::find(node->outputs().begin(), node->outputs().end(), value) - node->outputs().begin());
  if (position >= schema->returns().size()) return Memory::Unknown;
  if (schema->returns()[position].alias_info() == nullptr)
    return isTensorValue(value) && node->kind() != c10::prim::Constant ? Memory::New : Memory::Unknown;
  const auto& arguments = schema->arguments();
  const bool first =
      !arguments.empty() && arguments[0].alias_info() != nullptr && isTensorValue(node->input(0));
  return first ? Memory::OfInput : Memory::Unknown;
}

}  // namespace

void showSharedMemory(std::shared_ptr<Graph>& graph) {
  forEachNode(graph->block(), [&](Node* node) {
    if (isIdleDropout(node)) {
      node->output()->replaceAllUsesWith(node->input(0));
      node->destroy();
    } else if (node->kind() == c10::aten::type_as) {
      torch::jit::WithInsertPoint here(node);
      Value* same = graph->insert(c10::aten::to, {node->input(0), node->input(1)});
      node->output()->replaceAllUsesWith(same);
      node->destroy();
    }
  });
}

std::optional<std::unordered_set<const Value*>> valuesSharing(const Value* value) {
  const Value* made = value;
  while (memoryOf(made) == Memory::OfInput) made = made->node()->input(0);
  if (memoryOf(made) == Memory::Unknown) return std::nullopt;
  Followed followed;
  if (!followed.follow(made)) return std::nullopt;
  return followed.take();
}

}  // namespace gradcam
