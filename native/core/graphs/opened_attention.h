#pragma once

#include <memory>

#include "core/process/torch.h"

namespace gradcam {

// Writes ATen's closed self-attention (`_native_multi_head_attention`, which PyTorch takes without gradients
// and which traced files hold), and whole layers of nn.TransformerEncoder (`_transformer_encoder_layer_fwd`),
// as the operations they stand for. It has no derivative, and as one operation its matrix products cannot be
// fused. For graphs whose settings are constants: how many heads there are is one.
void openSelfAttention(std::shared_ptr<torch::jit::Graph>& graph);

// Writes `scaled_dot_product_attention`, with its scale, mask and grouped heads, as matrix products and a
// softmax, so that the softmax can be hooked and has a second derivative.
void openScaledDotProducts(std::shared_ptr<torch::jit::Graph>& graph);

}  // namespace gradcam
