#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "core/fusion/fused_activation.h"
#include "core/fusion/shared_weights.h"
#include "core/process/torch.h"

namespace gradcam {

// A BatchNorm behind a convolution, as one factor and one addend for each channel.
struct FoldedBatchNorm {
  at::Tensor scale;  // float32, [out]
  at::Tensor shift;

  static FoldedBatchNorm of(const at::Tensor& mean,
                            const at::Tensor& variance,
                            const std::optional<at::Tensor>& weight,
                            const std::optional<at::Tensor>& bias,
                            double epsilon);
};

// activation(batch_norm(convolution(input)) + added), without gradients. Several threads may run it.
//
// On a CPU as one oneDNN primitive on channels-last data, with packed weights. A signal, with one axis of
// space, is given it as an image of height 1, and its result lies as a view of such an image.
//
// On a GPU, where it is of images, by cuDNN, as one kernel where the activation is ReLU. Seen with ResNet-50
// on an H200, float32 is fastest in rows, and what tensor cores compute (float16, bfloat16, TF32)
// channels-last.
class FusedConvolution final : public torch::CustomClassHolder {
 public:
  struct Parameters {
    // [out, in / groups, ...space]; on the CPU float32, with 1 to 3 axes of space, on a GPU float32, float16
    // or bfloat16, with 2
    at::Tensor weight;
    std::optional<at::Tensor> bias;
    std::vector<int64_t> stride, padding, dilation;
    int64_t groups;

    PackedConvolution::Shape shape(bool transposed, at::ScalarType type) const;
  };

  // False where LibTorch was built without oneDNN.
  static bool available();
  // False where LibTorch was built without cuDNN.
  static bool availableOnGpu();

  // `type` is that of the arithmetic and the result: the weight's, or bfloat16 on a CPU that has it.
  FusedConvolution(Parameters parameters,
                   const std::optional<FoldedBatchNorm>& batchNorm,
                   FusedActivation activation,
                   bool inRows,
                   SharedWeights& weights,
                   at::ScalarType type);

  at::Tensor run(const at::Tensor& input, const std::optional<at::Tensor>& added) const;
  // The same for an addition whose memory may take the result.
  at::Tensor runInPlace(const at::Tensor& input, const at::Tensor& added) const;
  // False of what oneDNN cannot take, and of every mistake: that is run as written.
  bool canRun(const at::Tensor& input) const;
  bool canAdd(const at::Tensor& added, const at::Tensor& input) const;
  // By the operators that the model was written with, which autograd may record.
  at::Tensor runAsWritten(const at::Tensor& input, const std::optional<at::Tensor>& added) const;
  // The result is contiguous instead of channels-last.
  bool inRows() const { return inRows_; }
  // On a CPU: multiplies the channels of each place by a matrix.
  bool isPointwise() const;
  // On a CPU: with the BatchNorm's scale and shift.
  at::Tensor foldedWeight() const { return packed_->plain(); }
  const std::optional<at::Tensor>& foldedBias() const { return parameters_.bias; }
  const FusedActivation& activation() const { return activation_; }
  std::string describe() const;

 private:
  bool onGpu() const { return !parameters_.weight.is_cpu(); }
  void foldOnGpu(const std::optional<FoldedBatchNorm>& batchNorm);
  std::vector<int64_t> outputSizes(const at::Tensor& input) const;
  at::Tensor runWithCudnn(const at::Tensor& input, const std::optional<at::Tensor>& added) const;
  at::Tensor runAsOneKernel(const at::Tensor& image, const std::optional<at::Tensor>& added) const;

  bool takes(const at::Tensor& input) const;
  at::Tensor imageOf(const at::Tensor& input) const;
  bool reluBehindSum() const;

  Parameters parameters_;
  const at::ScalarType type_;
  const std::vector<int64_t> weightSizes_;     // [out, in / groups, ...space]
  std::shared_ptr<PackedConvolution> packed_;  // null on a GPU
  std::optional<at::Tensor> bias_;             // on the CPU, of type_
  const FusedActivation activation_;
  const bool inRows_;
  // What oneDNN's operators are given after the tensors, made once: padding to groups, and what follows them.
  std::vector<c10::IValue> geometry_;
  struct Ends {
    std::vector<c10::IValue> plain, activated, added;
  } ends_;
  at::MemoryFormat formatOnGpu_ = at::MemoryFormat::Contiguous;
  mutable std::atomic<bool> oneKernel_ = true;  // until cuDNN refuses
};

// The operator `fused_convolution(Any convolution, Tensor input, Tensor? added) -> Tensor`; the first
// argument is a FusedConvolution in a capsule.
const c10::Symbol& fusedConvolutionSymbol();
// The same, where the result may take the memory of `added`.
const c10::Symbol& fusedConvolutionInPlaceSymbol();
constexpr std::size_t kAddedInput = 2;  // of both operators

}  // namespace gradcam
