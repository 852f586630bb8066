#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/torch.h"

namespace gradcam {

// An elementwise function that oneDNN applies while it writes a convolution's result.
struct FusedActivation {
  std::string name = "none";  // as oneDNN's operators in ATen call it
  std::vector<std::optional<at::Scalar>> scalars;
  std::optional<std::string> algorithm;
};

// activation(convolution(input) + added), as one oneDNN primitive on channels-last data. The weight is put
// into oneDNN's own order on the first run, for a batch of one of that run's image size (its order depends on
// the size, hardly on the batch), so that one order serves all batches. Without gradients. Several threads
// may run it.
class FusedConvolution final : public torch::CustomClassHolder {
 public:
  struct Parameters {
    at::Tensor weight;  // float32, on the CPU, [out, in / groups, height, width]
    std::optional<at::Tensor> bias;
    std::vector<int64_t> stride, padding, dilation;
    int64_t groups;
  };

  // False where LibTorch was built without oneDNN.
  static bool available();

  FusedConvolution(Parameters parameters, FusedActivation activation);

  at::Tensor run(const at::Tensor& input, const std::optional<at::Tensor>& added) const;
  std::string describe() const;

 private:
  bool fits(const at::Tensor& input) const;
  std::vector<int64_t> outputSizes(const at::Tensor& input) const;
  at::Tensor packedWeight(const at::Tensor& input) const;
  at::Tensor plainWeight() const;
  at::Tensor runAsWritten(const at::Tensor& input, const std::optional<at::Tensor>& added) const;

  Parameters parameters_;
  const FusedActivation activation_;
  mutable std::mutex mutex_;
  mutable at::Tensor weight_;  // as given until the first run, then packed: never both
};

// The operator `fused_convolution(Any convolution, Tensor input, Tensor? added) -> Tensor`; the first
// argument is a FusedConvolution in a capsule.
const c10::Symbol& fusedConvolutionSymbol();

}  // namespace gradcam
