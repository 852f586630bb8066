#pragma once

#include <unordered_set>

#include "core/process/torch.h"

namespace gradcam {

// The values of a graph, its calls inlined, that depend on what is in the inputs; those that depend on their
// sizes alone, such as position embeddings, do not. In doubt a value depends.
std::unordered_set<const torch::jit::Value*> valuesOfInputs(torch::jit::Graph& graph);

}  // namespace gradcam
