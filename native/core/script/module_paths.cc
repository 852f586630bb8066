#include "core/script/module_paths.h"

#include <algorithm>

namespace gradcam {

std::optional<std::string> attributePath(const torch::jit::Value* value) {
  const auto inputs = value->owningGraph()->inputs();
  if (!inputs.empty() && value == inputs[0]) return "";
  const torch::jit::Node* node = value->node();
  if (node->kind() != c10::prim::GetAttr) return std::nullopt;
  const auto parent = attributePath(node->input(0));
  if (!parent) return std::nullopt;
  const std::string& name = node->s(c10::attr::name);
  return parent->empty() ? name : *parent + "." + name;
}

c10::IValue valueAtPath(const torch::jit::Module& root, const std::string& path) {
  c10::IValue value = root._ivalue();
  for (std::size_t start = 0; start < path.size();) {
    const std::size_t end = std::min(path.find('.', start), path.size());
    value = value.toObject()->getAttr(path.substr(start, end - start));
    start = end + 1;
  }
  return value;
}

}  // namespace gradcam
