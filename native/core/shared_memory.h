#pragma once

#include <optional>
#include <unordered_set>

#include "core/torch.h"

namespace gradcam {

// The values of a graph that share the memory of `value`, or hold what does, itself too: found by going back
// to what made it and following all uses. LibTorch's alias analysis takes every tensor that was once in a
// list for every other one (the parts of unbind() and split(), what a model holds); this does not. None where
// the memory may be someone else's, or goes somewhere that cannot be followed.
std::optional<std::unordered_set<const torch::jit::Value*>> valuesSharing(const torch::jit::Value* value);

}  // namespace gradcam
