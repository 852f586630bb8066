#pragma once

#include <memory>

#include "core/process/torch.h"

namespace gradcam {

// Folds BatchNorm into the convolution before it, where the weights are float32 or float64: rounded to half
// precision once more, folded weights would change the results visibly. Gradients behind the fold stay what
// they are.
void foldBatchNorms(std::shared_ptr<torch::jit::Graph>& graph);

}  // namespace gradcam
