#pragma once

#include <optional>
#include <string>

#include "core/fusion/fused_activation.h"
#include "core/fusion/shared_weights.h"
#include "core/process/torch.h"

namespace gradcam {

// activation(linear(input)), as one oneDNN primitive with the weight in oneDNN's own order, into which it is
// put on the first run. Without gradients. Several threads may run it.
class FusedLinear final : public torch::CustomClassHolder {
 public:
  static bool available();

  // `weight` is float32 on the CPU, [out, in].
  FusedLinear(const at::Tensor& weight,
              std::optional<at::Tensor> bias,
              FusedActivation activation,
              SharedWeights& weights);

  at::Tensor run(const at::Tensor& input) const;
  // False of what oneDNN cannot take, and of every mistake: run() gives that to the operator that the model
  // was written with, which autograd may record.
  bool canRun(const at::Tensor& input) const;
  std::string describe() const;

 private:
  const int64_t inputs_, outputs_;
  const std::optional<at::Tensor> bias_;
  const FusedActivation activation_;
  const std::shared_ptr<PackedLinear> weight_;
};

// The operator `fused_linear(Any linear, Tensor input) -> Tensor`; the first argument is a FusedLinear in a
// capsule.
const c10::Symbol& fusedLinearSymbol();

}  // namespace gradcam
