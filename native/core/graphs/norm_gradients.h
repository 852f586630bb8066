#pragma once

#include <memory>

#include "core/process/torch.h"

namespace gradcam {

// LibTorch's derivatives of BatchNorm and InstanceNorm are wrong on the CPU for one image that lies
// channels-last with room between, or whose gradient does: behind a class token that is put in front of an
// image's tokens, say. Lays both in rows.
void layNormGradientsInRows(std::shared_ptr<torch::jit::Graph>& graph);

}  // namespace gradcam
