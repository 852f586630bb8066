#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "core/process/torch.h"

namespace gradcam {

// An operation's argument, where it is a constant.
inline std::optional<c10::IValue> constantInput(const torch::jit::Node* node, const char* name) {
  return torch::jit::toIValue(node->namedInput(name));
}

// What the operator's schema says of each of its inputs, and at which position that is; of none where there
// is no schema, as of a branch.
template <typename Visit>
void forEachArgument(const torch::jit::Node* node, const Visit& visit) {
  const c10::FunctionSchema* schema = node->maybeSchema();
  if (schema == nullptr) return;
  const auto& arguments = schema->arguments();
  for (std::size_t index = 0; index < std::min(arguments.size(), node->inputs().size()); ++index)
    visit(arguments[index], index);
}

// The inputs that an operation writes into, as its schema says.
inline std::vector<torch::jit::Value*> writtenInputs(torch::jit::Node* node) {
  std::vector<torch::jit::Value*> written;
  forEachArgument(node, [&](const c10::Argument& argument, std::size_t index) {
    const auto* alias = argument.alias_info();
    if (alias != nullptr && alias->isWrite()) written.push_back(node->input(index));
  });
  return written;
}

}  // namespace gradcam
