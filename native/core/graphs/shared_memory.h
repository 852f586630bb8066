#pragma once

#include <memory>
#include <optional>
#include <unordered_set>

#include "core/process/torch.h"

namespace gradcam {

// Some operators may hand on the tensor that they are given, though their schemas say that they make a new
// one: alias analysis, and what relies on it, takes a write into the one for no write into the other. A
// dropout of a model that is evaluated becomes its input, and type_as() an operator that tells.
void showSharedMemory(std::shared_ptr<torch::jit::Graph>& graph);

// The values of a graph that share the memory of `value`, or hold what does, itself too: found by going back
// to what made it and following all uses. LibTorch's alias analysis takes every tensor that was once in a
// list for every other one (the parts of unbind() and split(), what a model holds); this does not. None where
// the memory may be someone else's, or goes somewhere that cannot be followed.
std::optional<std::unordered_set<const torch::jit::Value*>> valuesSharing(const torch::jit::Value* value);

}  // namespace gradcam
