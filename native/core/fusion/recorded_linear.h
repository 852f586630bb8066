#pragma once

#include <memory>
#include <optional>

#include "core/fusion/fused_linear.h"
#include "core/process/torch.h"

namespace gradcam {

// linear(input) on the CPU, where autograd records it: forward and back by oneDNN, for which MKL has no good
// kernels on other makers' processors. Its gradient has no gradient itself: not for plans of second
// derivatives. Several threads may run it.
class RecordedLinear final : public torch::CustomClassHolder {
 public:
  // `weight` is float32 on the CPU, [out, in].
  RecordedLinear(const at::Tensor& weight, const std::optional<at::Tensor>& bias, SharedWeights& weights);

  std::string describe() const { return forward_.describe(); }
  const FusedLinear& forward() const { return forward_; }
  // From the gradient of the result.
  at::Tensor inputGradient(const at::Tensor& gradient) const;

 private:
  at::Tensor fromFewRows(const at::Tensor& gradient) const;

  const at::Tensor weight_;
  const FusedLinear forward_;
  const std::shared_ptr<PackedLinear> transposed_;
};

// The operator `recorded_linear(Any linear, Tensor input) -> Tensor`; the first argument is a RecordedLinear
// in a capsule.
const c10::Symbol& recordedLinearSymbol();

}  // namespace gradcam
