#pragma once

#include <optional>

#include "core/process/torch.h"

namespace gradcam {

// An operation's argument, where it is a constant.
inline std::optional<c10::IValue> constantInput(const torch::jit::Node* node, const char* name) {
  return torch::jit::toIValue(node->namedInput(name));
}

}  // namespace gradcam
