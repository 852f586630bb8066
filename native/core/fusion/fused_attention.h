#pragma once

#include <optional>

#include "core/fusion/fused_linear.h"
#include "core/process/torch.h"

namespace gradcam {

// ATen's closed multi-head attention with its matrix products as oneDNN primitives. What is not plain
// self-attention (a mask, another key, wanted attention weights) goes to ATen's own operator.
class FusedAttention final : public torch::CustomClassHolder {
 public:
  // Of an `aten::_native_multi_head_attention` with constant float32 weights on the CPU; null for every
  // other.
  static c10::intrusive_ptr<FusedAttention> of(const torch::jit::Node* node, SharedWeights& weights);

  FusedAttention(const at::Tensor& queryKeyValueWeight,
                 at::Tensor queryKeyValueBias,
                 const at::Tensor& projectionWeight,
                 at::Tensor projectionBias,
                 int64_t heads,
                 SharedWeights& weights);

  // `arguments` are the operator's own.
  std::tuple<at::Tensor, at::Tensor> run(const torch::jit::Stack& arguments) const;

 private:
  const FusedLinear queryKeyValue_, projection_;
  const int64_t heads_;
};

// The operator `fused_attention(Any attention, ...) -> (Tensor, Tensor)`, with the arguments of
// `aten::_native_multi_head_attention` behind a FusedAttention in a capsule.
const c10::Symbol& fusedAttentionSymbol();

}  // namespace gradcam
