#pragma once

#include <memory>
#include <optional>
#include <string>

#include "core/fusion/fused_convolution.h"
#include "core/process/torch.h"

namespace gradcam {

// relu(batch_norm(convolution(input)) + added) on the CPU, where autograd records it: one oneDNN primitive
// forward and one back, each with its own packed weight, for constant weights have no gradient. Its gradient
// has no gradient itself: not for plans of second derivatives. Several threads may run it.
class RecordedConvolution final : public torch::CustomClassHolder {
 public:
  // False where LibTorch lacks an operator for it.
  static bool available();
  // Of volumes in groups oneDNN's transposed convolution takes up to three times as long as ATen's own
  // gradient, unless each channel is a group.
  static bool isWorthIt(const FusedConvolution::Parameters& parameters);

  // `activation` is none or ReLU, whose gradient the result tells.
  RecordedConvolution(const FusedConvolution::Parameters& parameters,
                      const std::optional<FoldedBatchNorm>& batchNorm,
                      const FusedActivation& activation,
                      bool inRows,
                      SharedWeights& weights);

  std::string describe() const { return forward_.describe(); }
  const FusedConvolution& forward() const { return forward_; }
  // Of an input of these sizes, from the gradient of the convolution's result.
  at::Tensor inputGradient(const at::Tensor& gradient, at::IntArrayRef inputSizes) const;

 private:
  const FusedConvolution forward_;
  const std::vector<int64_t> kernel_;
  const PackedConvolution::Shape shape_;
  const std::shared_ptr<PackedConvolution> transposed_;
};

// The operator `recorded_convolution(Any convolution, Tensor input, Tensor? added) -> Tensor`; the first
// argument is a RecordedConvolution in a capsule.
const c10::Symbol& recordedConvolutionSymbol();

}  // namespace gradcam
