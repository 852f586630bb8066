#include "core/script/module_facts.h"

#include <algorithm>
#include <map>
#include <sstream>

#include "core/script/graph_walk.h"

namespace gradcam {

bool isFrozen(const torch::jit::Module& module) {
  if (module.children().size() > 0 || module.parameters().size() > 0) return false;
  const auto forward = module.find_method("forward");
  if (!forward) return false;
  for (const torch::jit::Node* node : forward->graph()->nodes()) {
    if (node->kind() == c10::prim::Constant && node->hasAttribute(c10::attr::value) &&
        node->kindOf(c10::attr::value) == torch::jit::AttributeKind::t) {
      return true;
    }
  }
  return false;
}

std::optional<torch::jit::Module> moduleNamed(const torch::jit::Module& model, const std::string& path) {
  torch::jit::Module module = model;
  std::istringstream names(path);
  for (std::string name; std::getline(names, name, '.');) {
    if (!module.hasattr(name) || !module.attr(name).isModule()) return std::nullopt;
    module = module.attr(name).toModule();
  }
  return module;
}

at::Tensor tensorAttribute(const torch::jit::Module& module, const std::string& name) {
  if (!module.hasattr(name) || !module.attr(name).isTensor()) return {};
  return module.attr(name).toTensor();
}

std::vector<LayerInfo> listLayers(const torch::jit::Module& module) {
  std::vector<LayerInfo> layers;
  if (isFrozen(module)) {  // the names of its graph's values are all there is
    for (const torch::jit::Node* node : module.get_method("forward").graph()->nodes()) {
      if (node->kind() == c10::prim::Constant || node->outputs().size() != 1) continue;
      if (!node->output()->type()->isSubtypeOf(*c10::TensorType::get())) continue;
      layers.push_back({node->output()->debugName(), node->kind().toQualString(), 0});
    }
    return layers;
  }
  for (const auto& named : module.named_modules()) {
    if (named.name.empty()) continue;
    const auto depth = static_cast<int>(std::count(named.name.begin(), named.name.end(), '.'));
    layers.push_back({named.name, named.value.type()->name()->name(), depth});
  }
  return layers;
}

// Names of tensors in a frozen model's graph that an operation with a spatial result gave.
std::vector<std::string> frozenValueNames(const torch::jit::Module& module) {
  std::vector<std::string> names;
  for (const torch::jit::Node* node : module.get_method("forward").graph()->nodes()) {
    const std::string kind = node->kind().toQualString();
    const bool spatial = kind.find("conv") != std::string::npos || kind.find("relu") != std::string::npos ||
                         kind.find("::add") != std::string::npos;
    if (spatial && node->outputs().size() == 1)
      names.push_back(node->output()->debugName() + " (" + kind + ")");
  }
  return names;
}

std::optional<at::ScalarType> floatingTypeOfConstants(const torch::jit::Module& module) {
  std::map<at::ScalarType, int64_t> elements;
  forEachGraph(module, [&](torch::jit::Graph& graph) {
    forEachNode(graph.block(), [&](const torch::jit::Node* node) {
      if (node->kind() != c10::prim::Constant || !node->hasAttribute(c10::attr::value)) return;
      if (node->kindOf(c10::attr::value) != torch::jit::AttributeKind::t) return;
      const at::Tensor& tensor = node->t(c10::attr::value);
      if (at::isFloatingType(tensor.scalar_type())) elements[tensor.scalar_type()] += tensor.numel();
    });
  });
  const auto most = std::max_element(elements.begin(), elements.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == elements.end() ? std::nullopt : std::optional(most->first);
}

std::optional<at::ScalarType> floatingTypeOf(const torch::jit::Module& module) {
  for (const at::Tensor& parameter : module.parameters()) {
    if (at::isFloatingType(parameter.scalar_type())) return parameter.scalar_type();
  }
  return isFrozen(module) ? floatingTypeOfConstants(module) : std::nullopt;
}

}  // namespace gradcam
