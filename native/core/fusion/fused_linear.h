#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/fusion/fused_activation.h"
#include "core/fusion/shared_weights.h"
#include "core/process/torch.h"

namespace gradcam {

// activation(permuted(linear(input) * scale) + added), as one oneDNN primitive with the weight in oneDNN's
// own order, into which it is put on the first run. Without gradients. Several threads may run it.
class FusedLinear final : public torch::CustomClassHolder {
 public:
  struct Parameters {
    at::Tensor weight;  // float32 on the CPU, [out, in]
    std::optional<at::Tensor> bias;
    std::optional<at::Tensor> scale;   // [out]
    std::vector<int64_t> permutation;  // as permute() takes it; empty where the axes stay
    FusedActivation activation;        // none where something is added
    bool addedFirst = false;           // as it was written, which decides how a sum lies in memory
  };

  static bool available();

  // `type` is that of the arithmetic: float32, or bfloat16, whose result is put back into float32.
  FusedLinear(Parameters parameters, SharedWeights& weights, at::ScalarType type);

  at::Tensor run(const at::Tensor& input, const std::optional<at::Tensor>& added = std::nullopt) const;
  // False of what oneDNN cannot take, and of every mistake: run() gives that to the operator that the model
  // was written with, which autograd may record.
  bool canRun(const at::Tensor& input) const;
  std::string describe() const;

 private:
  std::optional<at::Tensor> inOrderOfProduct(const at::Tensor& input, const at::Tensor& added) const;
  at::Tensor runAlone(const at::Tensor& input) const;
  at::Tensor permuted(const at::Tensor& product) const;

  Parameters parameters_;  // the weight is in weight_
  const at::ScalarType type_;
  const int64_t inputs_, outputs_;
  const std::shared_ptr<PackedLinear> weight_;
};

// The operator `fused_linear(Any linear, Tensor input, Tensor? added) -> Tensor`; the first argument is a
// FusedLinear in a capsule.
const c10::Symbol& fusedLinearSymbol();

}  // namespace gradcam
