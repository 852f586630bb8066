#pragma once

#include <memory>

#include "core/torch.h"

namespace gradcam {

// Writes ATen's closed self-attention (`_native_multi_head_attention`, which PyTorch takes without gradients
// and which traced files hold) as the operations it stands for. It has no derivative, and as one operation
// its matrix products cannot be fused.
void openSelfAttention(std::shared_ptr<torch::jit::Graph>& graph);

// Writes `scaled_dot_product_attention` without a mask as matrix products and a softmax, so that its softmax
// can be hooked.
void openScaledDotProducts(std::shared_ptr<torch::jit::Graph>& graph);

}  // namespace gradcam
