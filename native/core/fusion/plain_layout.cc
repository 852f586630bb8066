#include "core/fusion/plain_layout.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/fusion/graph_optimization.h"
#include "core/graphs/operator_layouts.h"
#include "core/script/graph_walk.h"
#include "core/script/operator_arguments.h"
#include "core/script/own_operators.h"
#include "core/values/tensor_types.h"

namespace gradcam {
namespace {

using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

using Kinds = std::unordered_set<std::string>;

// The order of a tensor's elements when the model runs as it was written.
enum class Plain {
  Rows,     // contiguous
  Strided,  // a part of such a tensor: convolutions give rows for it
  Unknown
};

struct Layout {
  Plain plain = Plain::Rows;
  bool changed = false;  // a fused convolution in front may have changed the order
};

bool makesContainer(const Node* node) {
  return node->kind() == c10::prim::ListConstruct || node->kind() == c10::prim::DictConstruct;
}

// What a list or dictionary holds: what it was made of, and what was put into it since.
std::vector<Value*> contentsOf(Value* container) {
  static const Kinds putting = {"aten::append", "aten::insert", "aten::extend", "aten::add_",
                                "aten::_set_item"};
  const auto made = container->node()->inputs();
  std::vector<Value*> contents(made.begin(), made.end());
  for (const auto& [user, offset] : container->uses()) {
    if (offset != 0 || putting.count(user->kind().toQualString()) == 0) continue;
    contents.insert(contents.end(), user->inputs().begin() + 1, user->inputs().end());
  }
  return contents;
}

Layout joined(Layout a, Layout b) {
  return {std::max(a.plain, b.plain), a.changed || b.changed};
}

// A tensor in rows, as it is where it is so already.
void runPlainLayout(torch::jit::Stack& stack) {
  const at::Tensor tensor = torch::jit::pop(stack).toTensor();
  torch::jit::push(stack, tensor.layout() == at::kStrided ? tensor.contiguous() : tensor);
}

class PlainLayouts {
 public:
  explicit PlainLayouts(const std::shared_ptr<Graph>& graph) : shared_(graph), graph_(*graph) {}

  bool restore() {
    forEachNode(graph_.block(), [this](Node* node) { checkOperation(node); });
    checkReturned(graph_.return_node());
    if (unknown_) return false;
    for (const auto& [value, user, position] : inFront_) insertInFront(value, user, position);
    for (Node* convolution : behind_) insertBehind(convolution);
    return true;
  }

 private:
  struct Use {
    Value* value;
    Node* user;
    std::size_t position;
  };

  void checkOperation(Node* node) {
    if (seesStrides(node) && !node->inputs().empty()) {
      check(node, 0, /*mayCopy=*/true);
    } else if (isExactInRows(node)) {
      if (layoutOf(node->input(0)).changed) inFront_.push_back({node->input(0), node, 0});
    } else if (isForeign(node)) {
      for (std::size_t index = 0; index < node->inputs().size(); ++index) check(node, index, true);
    } else if (maySeeStridesByWrites(node) && layoutOf(node->input(0)).changed &&
               hasWriters(node->input(0))) {
      check(node, 0, /*mayCopy=*/false);
    }
  }

  void check(Node* user, std::size_t position, bool mayCopy) {
    Value* value = user->input(position);
    if (!mayHoldTensor(value->type())) return;
    const Layout layout = layoutOf(value);
    if (!layout.changed) return;
    const bool isTensor = value->type()->isSubtypeOf(*c10::TensorType::get());
    if (layout.plain == Plain::Rows && isTensor && mayCopy && !hasWriters(value)) {
      inFront_.push_back({value, user, position});
    } else if (!collectSources(value)) {
      unknown_ = true;
    }
  }

  // What the model returns is read by targets, whose TorchScript may be written for rows.
  void checkReturned(Node* user) {
    static const Kinds containers = {"prim::ListConstruct", "prim::TupleConstruct", "prim::DictConstruct"};
    for (std::size_t index = 0; index < user->inputs().size(); ++index) {
      Value* value = user->input(index);
      if (containers.count(value->node()->kind().toQualString()) > 0) checkReturned(value->node());
      if (!value->type()->isSubtypeOf(*c10::TensorType::get())) continue;
      const Layout layout = layoutOf(value);
      if (layout.changed && layout.plain == Plain::Rows && !hasWriters(value))
        inFront_.push_back({value, user, index});
    }
  }

  // Analysed when it is asked for: in most models nothing sees strides.
  bool hasWriters(const Value* value) {
    if (!aliases_) aliases_.emplace(shared_);
    return aliases_->hasWriters(value);
  }

  Layout layoutOf(Value* value) {
    if (!mayHoldTensor(value->type())) return {};
    if (const auto known = layouts_.find(value); known != layouts_.end()) return known->second;
    layouts_[value] = {Plain::Unknown, true};  // until it is known: what a loop carries
    return layouts_[value] = find(value);
  }

  template <typename Values>
  Layout layoutOfAll(const Values& values) {
    Layout layout;
    for (Value* value : values) layout = joined(layout, layoutOf(value));
    return layout;
  }

  bool isAssigned(const std::string& attribute) {
    return anyNode(graph_.block(), [&](const Node* node) {
      return node->kind() == c10::prim::SetAttr && node->s(c10::attr::name) == attribute;
    });
  }

  Layout find(Value* value) {
    Node* node = value->node();
    if (node->kind() == c10::prim::Param) {
      // The model's own inputs come in rows; what a loop carries may be anything.
      if (node->owningBlock() == graph_.block()) return {};
      return {Plain::Unknown, true};
    }
    if (node->kind() == c10::prim::GetAttr)
      return isAssigned(node->s(c10::attr::name)) ? Layout{Plain::Unknown, true} : Layout{};
    if (node->kind() == c10::prim::Constant) {
      const auto constant = torch::jit::toIValue(value);
      const bool odd = constant && constant->isTensor() && constant->toTensor().defined() &&
                       !constant->toTensor().is_contiguous();
      return {odd ? Plain::Unknown : Plain::Rows, false};
    }
    if (node->kind() == c10::prim::Uninitialized) return {};  // of a branch that raises: nothing sees it
    if (!node->blocks().empty()) return layoutOfBranches(node, value);
    if (isConvolution(node)) {
      const Layout input = layoutOf(node->input(0));
      const Plain plain = input.plain == Plain::Unknown ? Plain::Unknown : Plain::Rows;
      return {plain, input.changed || isFusableConvolution(node)};
    }
    if (givesRows(node)) return {};
    if (makesContainer(node)) return layoutOfAll(contentsOf(value));
    const Layout inputs = layoutOfAll(node->inputs());
    if (passesOn(node)) return inputs;
    if (node->kind() == c10::aten::cat)
      return {inputs.plain == Plain::Unknown ? Plain::Unknown : Plain::Rows, inputs.changed};
    if (followsOrder(node)) return inputs;
    if (takesPart(node))
      return {inputs.plain == Plain::Unknown ? Plain::Unknown : Plain::Strided, inputs.changed};
    static const Kinds reshaping = {"aten::reshape", "aten::flatten", "aten::view", "aten::unsqueeze",
                                    "aten::squeeze"};
    if (reshaping.count(node->kind().toQualString()) > 0)
      return {inputs.plain == Plain::Rows ? Plain::Rows : Plain::Unknown, inputs.changed};
    return {Plain::Unknown, inputs.changed};
  }

  Layout layoutOfBranches(Node* node, Value* value) {
    if (node->kind() != c10::prim::If) return {Plain::Unknown, true};
    const auto position = static_cast<std::size_t>(
        std::find(node->outputs().begin(), node->outputs().end(), value) - node->outputs().begin());
    Layout layout;
    for (Block* block : node->blocks()) layout = joined(layout, layoutOf(block->outputs()[position]));
    return layout;
  }

  // The fused convolutions that a value's order comes from. False where one would not give rows, or what
  // carries it is a loop.
  bool collectSources(Value* value) {
    if (!mayHoldTensor(value->type()) || !seen_.insert(value).second) return true;
    if (!layoutOf(value).changed) return true;
    Node* node = value->node();
    static const Kinds unknown = {"prim::Param", "prim::Loop", "prim::GetAttr"};
    if (unknown.count(node->kind().toQualString()) > 0) return false;
    for (Block* block : node->blocks()) {
      for (Value* output : block->outputs()) {
        if (!collectSources(output)) return false;
      }
    }
    if (isFusableConvolution(node)) {
      if (layoutOf(value).plain != Plain::Rows) return false;
      behind_.insert(node);
      return true;
    }
    const auto collect = [&](Value* each) { return collectSources(each); };
    if (makesContainer(node)) {
      const auto contents = contentsOf(value);
      return std::all_of(contents.begin(), contents.end(), collect);
    }
    return std::all_of(node->inputs().begin(), node->inputs().end(), collect);
  }

  Value* restored(Value* value) {
    Node* node = graph_.insertNode(graph_.create(plainLayoutSymbol(), {value}, 1));
    node->output()->setType(value->type());
    return node->output();
  }

  void insertInFront(Value* value, Node* user, std::size_t position) {
    torch::jit::WithInsertPoint here(user);
    user->replaceInput(position, restored(value));
  }

  void insertBehind(Node* convolution) {
    torch::jit::WithInsertPoint here(convolution->next());
    Value* output = convolution->output();
    Value* rows = restored(output);
    output->replaceAllUsesAfterNodeWith(rows->node(), rows);
  }

  const std::shared_ptr<Graph> shared_;
  Graph& graph_;
  std::optional<torch::jit::AliasDb> aliases_;
  std::unordered_map<Value*, Layout> layouts_;
  std::unordered_set<Value*> seen_;
  std::vector<Use> inFront_;
  std::set<Node*> behind_;
  bool unknown_ = false;
};

// The model asks for an order itself: then nothing is known of what convolutions give.
bool asksForOrder(const Node* node) {
  bool asks = false;
  forEachArgument(node, [&](const c10::Argument& argument, std::size_t index) {
    if (argument.name() != "memory_format") return;
    const auto constant = torch::jit::toIValue(node->input(index));
    asks = asks || !constant ||
           (constant->isInt() && constant->toInt() != static_cast<int64_t>(at::MemoryFormat::Contiguous) &&
            constant->toInt() != static_cast<int64_t>(at::MemoryFormat::Preserve));
  });
  return asks;
}

}  // namespace

bool restorePlainLayouts(std::shared_ptr<Graph>& graph) {
  if (anyNode(graph->block(), asksForOrder)) return false;
  return PlainLayouts(graph).restore();
}

const c10::Symbol& plainLayoutSymbol() {
  static const c10::Symbol symbol =
      registerOperator("plain_layout(Tensor(a) tensor) -> Tensor(a)", runPlainLayout);
  return symbol;
}

}  // namespace gradcam
