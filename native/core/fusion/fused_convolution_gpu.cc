// What FusedConvolution does on a GPU.
#include "core/fusion/fused_convolution.h"

namespace gradcam {

bool FusedConvolution::availableOnGpu() {
  return at::detail::getCUDAHooks().compiledWithCuDNN() && at::globalContext().userEnabledCuDNN();
}

void FusedConvolution::foldOnGpu(const std::optional<FoldedBatchNorm>& batchNorm) {
  auto& [weight, bias, stride, padding, dilation, groups] = parameters_;
  const at::ScalarType type = weight.scalar_type();
  // Plans are built by jobs, under the settings of their model.
  const bool tensorCores = type != at::kFloat || at::globalContext().allowTF32CuDNN();
  if (tensorCores) formatOnGpu_ = at::MemoryFormat::ChannelsLast;
  if (batchNorm) {
    weight = (weight.to(at::kFloat) * batchNorm->scale.view({-1, 1, 1, 1})).to(type);
    bias = (bias ? *bias * batchNorm->scale + batchNorm->shift : batchNorm->shift).to(type);
  }
  weight = weight.contiguous(formatOnGpu_);
}

at::Tensor FusedConvolution::runAsOneKernel(const at::Tensor& image,
                                            const std::optional<at::Tensor>& added) const {
  const auto& [weight, bias, stride, padding, dilation, groups] = parameters_;
  if (!added) return at::cudnn_convolution_relu(image, weight, bias, stride, padding, dilation, groups);
  return at::cudnn_convolution_add_relu(image, weight, added->contiguous(formatOnGpu_), at::Scalar(1.0), bias,
                                        stride, padding, dilation, groups);
}

at::Tensor FusedConvolution::runWithCudnn(const at::Tensor& input,
                                          const std::optional<at::Tensor>& added) const {
  const auto& [weight, bias, stride, padding, dilation, groups] = parameters_;
  const at::Tensor image = input.contiguous(formatOnGpu_);
  const bool alike =
      !added || (added->scalar_type() == weight.scalar_type() && added->sizes() == outputSizes(input));
  if (activation_.name == "relu" && groups == 1 && alike && oneKernel_) {
    try {
      return runAsOneKernel(image, added);
    } catch (const c10::OutOfMemoryError&) {
      throw;
    } catch (const c10::Error&) {  // of this shape and type; a device that failed will say so again
      oneKernel_ = false;
    }
  }
  at::Tensor result = at::conv2d(image, weight, bias, stride, padding, dilation, groups);
  if (added) result = alike ? result.add_(*added) : at::add(result, *added);
  return activation_.applyInPlace(result);
}

}  // namespace gradcam
