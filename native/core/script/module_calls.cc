#include "core/script/module_calls.h"

#include <algorithm>
#include <cctype>
#include <optional>

#include "core/script/module_paths.h"

namespace gradcam {
namespace {

using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

class CallInliner {
 public:
  CallInliner(const torch::jit::Module& root, const std::string& method, const OnLayerOutput& onLayerOutput)
      : root_(root), onLayerOutput_(onLayerOutput), graph_(root.get_method(method).graph()->copy()) {}

  std::shared_ptr<Graph> run() {
    inlineBlock(graph_->block());
    torch::jit::Inline(*graph_);  // what is left: free functions, and methods of classes that are not modules
    return graph_;
  }

 private:
  // The method that a node calls on a submodule, looked up on the module itself: an attribute typed as an
  // interface does not tell.
  struct ModuleCall {
    std::string path;
    torch::jit::Method method;
  };
  std::optional<ModuleCall> moduleCall(const Node* node) const {
    if (node->kind() != c10::prim::CallMethod) return std::nullopt;
    const auto path = attributePath(node->input(0));
    if (!path) return std::nullopt;
    const c10::IValue object = valueAtPath(root_, *path);
    if (!object.isModule()) return std::nullopt;
    const torch::jit::Module module = object.toModule();
    const auto method = module.find_method(node->s(c10::attr::name));
    if (!method) return std::nullopt;
    return ModuleCall{*path, *method};
  }

  void inlineBlock(Block* block) {
    Node* node = *block->nodes().begin();
    while (node != block->return_node()) {
      for (Block* inner : node->blocks()) inlineBlock(inner);
      const auto call = moduleCall(node);
      node = call ? inlineCall(node, *call) : node->next();
    }
  }

  // Traces call a layer that is used again by forward1, forward2, ..., and scripts one with several
  // signatures (an LSTM) by forward__0; forward_features and its like are other methods.
  static bool isForward(const std::string& name) {
    return name.rfind("forward", 0) == 0 &&
           std::all_of(name.begin() + 7, name.end(),
                       [](unsigned char letter) { return letter == '_' || std::isdigit(letter) != 0; });
  }

  // Replaces the call by the callee's nodes and returns the first of them, so that the calls inside are met
  // next. The listener acts first, while the call's own result is still told apart from an equal value that
  // the caller has.
  Node* inlineCall(Node* call, const ModuleCall& target) {
    Node* before = call->prev();
    Node* behind = call->next();
    auto& callee = torch::jit::toGraphFunction(target.method.function());
    const bool isLayerCall = !target.path.empty() && isForward(call->s(c10::attr::name));
    if (isLayerCall) onLayerOutput_(target.path, call->output(), behind);
    // Not its optimized graph, in which the calls inside are inlined already.
    torch::jit::inlineCallTo(call, &callee, callee.graph().get());
    return before->next();
  }

  const torch::jit::Module& root_;
  const OnLayerOutput& onLayerOutput_;
  std::shared_ptr<Graph> graph_;
};

}  // namespace

std::shared_ptr<Graph> inlineModuleCalls(const torch::jit::Module& module,
                                         const std::string& method,
                                         const OnLayerOutput& onLayerOutput) {
  return CallInliner(module, method, onLayerOutput).run();
}

}  // namespace gradcam
