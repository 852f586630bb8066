#pragma once

#include <cstdint>
#include <vector>

#include "api/reshape_transform.h"
#include "core/process/torch.h"

namespace gradcam {

// Hiera orders its tokens by mask units before the first block, so that pooling is a maximum over neighbours
// in memory: a map of [units x inner] places along each axis becomes [inner, units], step by step. The steps
// that precede each slot's hook and were not undone before it; swaps that a model undoes, such as MaxViT's
// grids, are none.
std::vector<std::vector<UnrollStep>> unrollStepsBeforeHooks(torch::jit::Graph& graph, std::size_t slots);

}  // namespace gradcam
