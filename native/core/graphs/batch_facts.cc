#include "core/graphs/batch_facts.h"

#include <algorithm>
#include <optional>
#include <unordered_map>

namespace gradcam {
namespace {

using torch::jit::Block;
using torch::jit::Node;
using torch::jit::Value;

// The argument that tells whether an operation trains.
const char* trainingFlagOf(const std::string& name) {
  static const std::map<std::string, const char*> flags = {
      {"batch_norm", "training"},
      {"instance_norm", "use_input_stats"},
      {"dropout", "train"},
      {"dropout_", "train"},
      {"feature_dropout", "train"},
      {"feature_dropout_", "train"},
      {"alpha_dropout", "train"},
      {"alpha_dropout_", "train"},
      {"feature_alpha_dropout", "train"},
      {"feature_alpha_dropout_", "train"},
      {"native_dropout", "train"},
      {"rrelu", "training"},
      {"rrelu_", "training"},
  };
  const auto flag = flags.find(name);
  return flag == flags.end() ? nullptr : flag->second;
}

// Walks over the graphs of a method and of what it calls as they are, with the settings of the modules that
// it meets: inlining a large model's calls takes longer than loading it. Written attributes are taken for
// what they are at load.
class Look {
 public:
  using Known = std::optional<c10::IValue>;  // none where it depends on the input

  void at(torch::jit::Function& function, const std::vector<Known>& arguments) {
    auto* ofGraph = torch::jit::tryToGraphFunction(function);
    if (ofGraph == nullptr || depth_ == kDeepest) return;
    const std::shared_ptr<torch::jit::Graph> graph = ofGraph->graph();
    std::unordered_map<const Value*, Known> outside;
    for (std::size_t index = 0; index < std::min(arguments.size(), graph->inputs().size()); ++index)
      outside[graph->inputs()[index]] = arguments[index];
    std::swap(outside, values_);
    ++depth_;
    in(graph->block());
    --depth_;
    std::swap(outside, values_);
  }

  BatchFacts facts;

 private:
  static constexpr int kDeepest = 200;

  // A branch that settings rule out does not count.
  void in(const Block* block) {
    for (const Node* node : block->nodes()) {
      const Known condition = node->kind() == c10::prim::If ? of(node->input(0)) : std::nullopt;
      if (condition && condition->isBool()) {
        in(node->blocks()[condition->toBool() ? 0 : 1]);
      } else {
        for (const Block* inner : node->blocks()) in(inner);
      }
      look(node);
    }
  }

  void look(const Node* node) {
    if (node->kind() == c10::prim::CallMethod) {
      const Known object = of(node->input(0));
      if (!object || !object->isModule()) return;
      if (const auto method = object->toModule().find_method(node->s(c10::attr::name)))
        at(method->function(), argumentsOf(node, 0));
      return;
    }
    if (node->kind() == c10::prim::CallFunction) {
      if (const auto type = node->input(0)->type()->cast<c10::FunctionType>())
        at(*type->function(), argumentsOf(node, 1));
      return;
    }
    if (node->kind().is_aten()) lookAtOperator(node);
  }

  std::vector<Known> argumentsOf(const Node* call, std::size_t first) {
    std::vector<Known> arguments;
    for (std::size_t index = first; index < call->inputs().size(); ++index)
      arguments.push_back(of(call->input(index)));
    return arguments;
  }

  void lookAtOperator(const Node* node) {
    const std::string name = node->kind().toUnqualString();
    if (name == "scaled_dot_product_attention") {
      const Known share = of(node->namedInput("dropout_p"));
      if (share && share->isDouble() && share->toDouble() > 0) ++facts.training["dropout"];
      return;
    }
    const char* flag = trainingFlagOf(name);
    if (flag == nullptr || of(node->namedInput(flag)) == c10::IValue(false) || dropsNothing(node)) return;
    const bool isBatchNorm = name == "batch_norm";
    facts.mixesImages = facts.mixesImages || isBatchNorm;
    // Without statistics of its own a norm takes the input's in eval mode, too.
    const bool isNorm = isBatchNorm || name == "instance_norm";
    const Known mean = isNorm ? of(node->namedInput("running_mean")) : std::nullopt;
    if (mean && mean->isNone()) return;
    ++facts.training[name.back() == '_' ? name.substr(0, name.size() - 1) : name];
  }

  // A dropout of nothing, as transformers have it, changes nothing.
  bool dropsNothing(const Node* node) {
    const auto* schema = node->maybeSchema();
    if (schema == nullptr || !schema->argumentIndexWithName("p")) return false;
    return of(node->namedInput("p")) == c10::IValue(0.0);
  }

  Known of(const Value* value) {
    if (const auto known = values_.find(value); known != values_.end()) return known->second;
    const Known found = find(value);
    values_[value] = found;
    return found;
  }

  Known find(const Value* value) {
    const Node* node = value->node();
    if (node->kind() == c10::prim::Constant) return torch::jit::toIValue(value);
    if (node->kind() == c10::prim::GetAttr) {
      const Known object = of(node->input(0));
      if (!object || !object->isObject()) return std::nullopt;
      return object->toObjectRef().getAttr(node->s(c10::attr::name));
    }
    if (node->kind() == c10::prim::If) {
      const Known condition = of(node->input(0));
      if (!condition || !condition->isBool()) return std::nullopt;
      return of(node->blocks()[condition->toBool() ? 0 : 1]->outputs()[value->offset()]);
    }
    const std::string kind = node->kind().toQualString();
    if (kind == "aten::__is__" || kind == "aten::__isnot__") {
      const Known first = of(node->input(0)), second = of(node->input(1));
      if (!first || !second || !(first->isNone() || second->isNone())) return std::nullopt;
      return c10::IValue((first->isNone() && second->isNone()) == (kind == "aten::__is__"));
    }
    if (kind == "aten::__not__") {
      const Known given = of(node->input(0));
      return given && given->isBool() ? Known(c10::IValue(!given->toBool())) : std::nullopt;
    }
    return std::nullopt;
  }

  int depth_ = 0;
  std::unordered_map<const Value*, Known> values_;  // of the function that is looked at
};

}  // namespace

BatchFacts batchFactsOf(const torch::jit::Module& model, const std::string& method) {
  Look look;
  look.at(model.get_method(method).function(), {c10::IValue(model._ivalue())});
  return look.facts;
}

}  // namespace gradcam
