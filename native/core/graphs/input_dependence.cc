#include "core/graphs/input_dependence.h"

#include <set>
#include <string>

#include "core/script/operator_arguments.h"

namespace gradcam {
namespace {

using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

// Of the first argument they take only the size, the type and the device.
bool asksFormOnly(const Node* node) {
  static const std::set<c10::Symbol> kinds = [] {
    std::set<c10::Symbol> symbols;
    for (const char* name : {"aten::size",
                             "aten::dim",
                             "aten::numel",
                             "aten::stride",
                             "aten::is_contiguous",
                             "aten::_shape_as_tensor",
                             "aten::is_floating_point",
                             "aten::zeros_like",
                             "aten::ones_like",
                             "aten::empty_like",
                             "aten::full_like",
                             "aten::rand_like",
                             "aten::randn_like",
                             "aten::new_zeros",
                             "aten::new_ones",
                             "aten::new_empty",
                             "aten::new_full",
                             "prim::device",
                             "prim::dtype",
                             "prim::layout",
                             "prim::is_cuda"})
      symbols.insert(c10::Symbol::fromQualString(name));
    return symbols;
  }();
  return kinds.count(node->kind()) > 0;
}

// Of the second argument they take only the size or the type.
bool takesFormOfOther(const Node* node) {
  static const std::set<c10::Symbol> kinds = {c10::aten::expand_as, c10::aten::view_as, c10::aten::reshape_as,
                                              c10::aten::type_as};
  if (kinds.count(node->kind()) > 0) return true;
  return node->kind() == c10::aten::to && node->inputs().size() > 1 &&
         node->input(1)->type()->isSubtypeOf(*c10::TensorType::get());
}

class Dependence {
 public:
  explicit Dependence(Graph& graph) : graph_(graph) {
    for (Value* input : graph.inputs()) {
      if (!input->type()->cast<c10::ClassType>()) depends(input);
    }
  }

  std::unordered_set<const Value*> run() {
    // A loop hands values back, and a write reaches what was made before it.
    do {
      changed_ = false;
      visit(graph_.block());
    } while (changed_);
    return std::move(dependent_);
  }

 private:
  bool isDependent(const Value* value) const { return dependent_.count(value) > 0; }

  void depends(const Value* value) { changed_ = dependent_.insert(value).second || changed_; }

  bool readsInput(const Node* node) const {
    const bool ofForm = asksFormOnly(node);
    const bool ofOther = takesFormOfOther(node);
    for (std::size_t index = 0; index < node->inputs().size(); ++index) {
      if ((ofForm && index == 0) || (ofOther && index == 1)) continue;
      if (isDependent(node->input(index))) return true;
    }
    return false;
  }

  // What a node writes to, and what that is a view of or a part of.
  void writes(Node* node) {
    for (const Value* written : writtenInputs(node)) {
      while (!isDependent(written)) {
        depends(written);
        const Node* maker = written->node();
        if (maker->inputs().empty() || maker->kind() == c10::prim::Param) break;
        written = maker->input(0);
      }
    }
  }

  // Each part by itself, where it is known what was packed.
  bool unpacks(const Node* node) {
    if (node->kind() != c10::prim::TupleUnpack && node->kind() != c10::prim::ListUnpack) return false;
    const Node* maker = node->input()->node();
    const bool packed = maker->kind() == c10::prim::TupleConstruct ||
                        (maker->kind() == c10::prim::ListConstruct && node->input()->uses().size() == 1);
    if (!packed || maker->inputs().size() != node->outputs().size()) return false;
    for (std::size_t index = 0; index < node->outputs().size(); ++index) {
      if (isDependent(maker->input(index))) depends(node->outputs()[index]);
    }
    return true;
  }

  void visit(Block* block) {
    for (Node* node : block->nodes()) {
      if (node->kind() == c10::prim::Constant) continue;
      if (node->kind() == c10::prim::SetAttr) {
        if (isDependent(node->input(1))) attributes_.insert(node->s(c10::attr::name));
        continue;
      }
      if (node->kind() == c10::prim::GetAttr) {
        if (attributes_.count(node->s(c10::attr::name)) > 0) depends(node->output());
        continue;
      }
      if (node->kind() == c10::prim::If || node->kind() == c10::prim::Loop) {
        visitBranches(node);
        continue;
      }
      for (Block* inner : node->blocks()) visit(inner);
      if (unpacks(node) || !readsInput(node)) continue;
      for (const Value* output : node->outputs()) depends(output);
      writes(node);
    }
  }

  void visitBranches(Node* node) {
    const bool loop = node->kind() == c10::prim::Loop;
    // Of a loop: how often, whether at all, then the values that are handed on.
    const std::size_t first = loop ? 2 : 0;
    bool decided = isDependent(node->input(0)) || (loop && isDependent(node->input(1)));
    for (Block* inner : node->blocks()) {
      for (std::size_t index = first; loop && index < node->inputs().size(); ++index) {
        if (isDependent(node->input(index))) depends(inner->inputs()[index - 1]);
      }
      visit(inner);
      if (loop && isDependent(inner->outputs()[0])) decided = true;
      for (std::size_t index = 0; index < node->outputs().size(); ++index) {
        if (!isDependent(inner->outputs()[index + (loop ? 1 : 0)])) continue;
        depends(node->outputs()[index]);
        if (loop) depends(inner->inputs()[index + 1]);
      }
    }
    if (!decided) return;
    for (const Value* output : node->outputs()) depends(output);
  }

  Graph& graph_;
  std::unordered_set<const Value*> dependent_;
  std::set<std::string> attributes_;  // that depend
  bool changed_ = false;
};

}  // namespace

std::unordered_set<const Value*> valuesOfInputs(Graph& graph) {
  return Dependence(graph).run();
}

}  // namespace gradcam
