#pragma once

#include <memory>

#include "core/process/torch.h"

namespace gradcam {

// Replaces every ReLU of a graph, written as a layer or as a function, in place or not, by one whose gradient
// passes only where both the input and the gradient are positive (guided backpropagation, Springenberg et al.
// 2015). Clipped ones, such as ReLU6, too; their gradient passes below the limit only.
void replaceReluByGuidedRelu(std::shared_ptr<torch::jit::Graph>& graph);

}  // namespace gradcam
