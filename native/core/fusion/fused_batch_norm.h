#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/process/torch.h"

namespace gradcam {

// activation(batch_norm(cat(parts, 1))) with constant statistics, where the activation is ReLU or none,
// without gradients: DenseNet's, in one pass instead of three. Several threads may run it.
class FusedBatchNorm final : public torch::CustomClassHolder {
 public:
  struct Parameters {
    at::Tensor mean, variance;  // float32 on the CPU, [channels]
    std::optional<at::Tensor> weight, bias;
    double epsilon;
  };

  // What `node` does with its first input; none where it is no BatchNorm in evaluation mode with constant
  // statistics.
  static std::optional<Parameters> of(const torch::jit::Node* node);

  FusedBatchNorm(Parameters parameters, bool relu);

  at::Tensor run(const std::vector<at::Tensor>& parts) const;
  std::string describe() const { return relu_ ? "batch_norm_relu" : "batch_norm"; }

 private:
  bool canRun(const std::vector<at::Tensor>& parts) const;
  at::Tensor runAsWritten(const std::vector<at::Tensor>& parts) const;

  const Parameters parameters_;
  const bool relu_;
  at::Tensor scale_, shift_;
};

// The operator `fused_batch_norm(Any norm, Tensor[] parts) -> Tensor`; the first argument is a FusedBatchNorm
// in a capsule.
const c10::Symbol& fusedBatchNormSymbol();

}  // namespace gradcam
