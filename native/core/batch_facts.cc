#include "core/batch_facts.h"

#include "core/constant_input.h"
#include "core/frozen_graph.h"
#include "core/graph_walk.h"
#include "core/module_calls.h"

namespace gradcam {
namespace {

using torch::jit::Node;

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

bool isGiven(const Node* node, const char* name) {
  const auto value = constantInput(node, name);
  return !value || !value->isNone();
}

// A dropout of nothing, as transformers have it, changes nothing.
bool dropsNothing(const Node* node) {
  const auto* schema = node->maybeSchema();
  if (schema == nullptr || !schema->argumentIndexWithName("p")) return false;
  return constantInput(node, "p") == c10::IValue(0.0);
}

void look(const Node* node, BatchFacts& facts) {
  if (std::string(node->kind().ns().toUnqualString()) != "aten") return;
  const std::string name = node->kind().toUnqualString();
  if (name == "scaled_dot_product_attention") {
    const auto share = constantInput(node, "dropout_p");
    if (share && share->isDouble() && share->toDouble() > 0) ++facts.training["dropout"];
    return;
  }
  const char* flag = trainingFlagOf(name);
  if (flag == nullptr || constantInput(node, flag) == c10::IValue(false) || dropsNothing(node)) return;
  const bool isBatchNorm = name == "batch_norm";
  facts.mixesImages = facts.mixesImages || isBatchNorm;
  // Without statistics of its own a norm takes the input's in eval mode, too.
  const bool isNorm = isBatchNorm || name == "instance_norm";
  if (!isNorm || isGiven(node, "running_mean"))
    ++facts.training[name.back() == '_' ? name.substr(0, name.size() - 1) : name];
}

}  // namespace

BatchFacts batchFactsOf(const torch::jit::Module& model, const std::string& method) {
  auto graph =
      inlineModuleCalls(model, method, [](const std::string&, torch::jit::Value*, torch::jit::Node*) {});
  foldSettings(graph, model);
  BatchFacts facts;
  forEachNode(graph->block(), [&](const Node* node) { look(node, facts); });
  return facts;
}

}  // namespace gradcam
