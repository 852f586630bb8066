#pragma once

#include <optional>
#include <string>

#include "core/process/torch.h"

namespace gradcam {

// The dotted attribute path from a graph's first input, the model, to `value`; "" for the model itself, none
// where the value is not reached by attributes.
std::optional<std::string> attributePath(const torch::jit::Value* value);

// What lies at a path that attributePath gave.
c10::IValue valueAtPath(const torch::jit::Module& root, const std::string& path);

}  // namespace gradcam
