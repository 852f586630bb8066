#include "core/batch_facts.h"

#include <optional>
#include <unordered_map>

#include "core/module_calls.h"
#include "core/module_paths.h"

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

// What is read from a graph whose calls are inlined, without changing it: folding settings away takes as long
// as loading the file. Written attributes are taken for what they are at load.
class Settings {
 public:
  explicit Settings(const torch::jit::Module& model) : model_(model) {}

  // None where it depends on the input.
  std::optional<c10::IValue> of(const Value* value) {
    if (const auto known = values_.find(value); known != values_.end()) return known->second;
    return values_[value] = find(value);
  }

  std::optional<c10::IValue> input(const Node* node, const char* name) { return of(node->namedInput(name)); }

 private:
  std::optional<c10::IValue> find(const Value* value) {
    const Node* node = value->node();
    if (node->kind() == c10::prim::Constant) return torch::jit::toIValue(value);
    if (node->kind() == c10::prim::GetAttr) {
      const auto path = attributePath(value);
      if (!path) return std::nullopt;
      const c10::IValue found = valueAtPath(model_, *path);
      return found.isModule() ? std::nullopt : std::optional(found);
    }
    const std::string kind = node->kind().toQualString();
    if (kind == "prim::If") {
      const auto condition = of(node->input(0));
      if (!condition || !condition->isBool()) return std::nullopt;
      return of(node->blocks()[condition->toBool() ? 0 : 1]->outputs()[value->offset()]);
    }
    if (kind == "aten::__is__" || kind == "aten::__isnot__") {
      const auto first = of(node->input(0)), second = of(node->input(1));
      if (!first || !second || !(first->isNone() || second->isNone())) return std::nullopt;
      return c10::IValue((first->isNone() && second->isNone()) == (kind == "aten::__is__"));
    }
    if (kind == "aten::__not__") {
      const auto given = of(node->input(0));
      return given && given->isBool() ? std::optional(c10::IValue(!given->toBool())) : std::nullopt;
    }
    return std::nullopt;
  }

  const torch::jit::Module& model_;
  std::unordered_map<const Value*, std::optional<c10::IValue>> values_;
};

class Look {
 public:
  explicit Look(const torch::jit::Module& model) : settings_(model) {}

  // A branch that settings rule out does not count.
  void at(const Block* block) {
    for (const Node* node : block->nodes()) {
      const auto condition = node->kind() == c10::prim::If ? settings_.of(node->input(0)) : std::nullopt;
      if (condition && condition->isBool()) {
        at(node->blocks()[condition->toBool() ? 0 : 1]);
      } else {
        for (const Block* inner : node->blocks()) at(inner);
      }
      at(node);
    }
  }

  BatchFacts facts;

 private:
  void at(const Node* node) {
    if (std::string(node->kind().ns().toUnqualString()) != "aten") return;
    const std::string name = node->kind().toUnqualString();
    if (name == "scaled_dot_product_attention") {
      const auto share = settings_.input(node, "dropout_p");
      if (share && share->isDouble() && share->toDouble() > 0) ++facts.training["dropout"];
      return;
    }
    const char* flag = trainingFlagOf(name);
    if (flag == nullptr || settings_.input(node, flag) == c10::IValue(false) || dropsNothing(node)) return;
    const bool isBatchNorm = name == "batch_norm";
    facts.mixesImages = facts.mixesImages || isBatchNorm;
    // Without statistics of its own a norm takes the input's in eval mode, too.
    const bool isNorm = isBatchNorm || name == "instance_norm";
    const auto mean = isNorm ? settings_.input(node, "running_mean") : std::nullopt;
    if (mean && mean->isNone()) return;
    ++facts.training[name.back() == '_' ? name.substr(0, name.size() - 1) : name];
  }

  // A dropout of nothing, as transformers have it, changes nothing.
  bool dropsNothing(const Node* node) {
    const auto* schema = node->maybeSchema();
    if (schema == nullptr || !schema->argumentIndexWithName("p")) return false;
    return settings_.input(node, "p") == c10::IValue(0.0);
  }

  Settings settings_;
};

}  // namespace

BatchFacts batchFactsOf(const torch::jit::Module& model, const std::string& method) {
  auto graph =
      inlineModuleCalls(model, method, [](const std::string&, torch::jit::Value*, torch::jit::Node*) {});
  Look look(model);
  look.at(graph->block());
  return look.facts;
}

}  // namespace gradcam
