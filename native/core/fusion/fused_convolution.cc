#include "core/fusion/fused_convolution.h"

#include <algorithm>
#include <sstream>

#include "core/fusion/channels_last.h"
#include "core/script/own_operators.h"

namespace gradcam {
namespace {

void runFusedConvolution(torch::jit::Stack& stack) {
  const auto added = torch::jit::pop(stack).toOptional<at::Tensor>();
  const at::Tensor input = torch::jit::pop(stack).toTensor();
  const auto convolution =
      c10::static_intrusive_pointer_cast<FusedConvolution>(torch::jit::pop(stack).toCapsule());
  const at::Tensor result = convolution->run(input, added);
  torch::jit::push(stack, convolution->inRows() ? result.contiguous() : result);
}

void runFusedConvolutionInPlace(torch::jit::Stack& stack) {
  const at::Tensor added = torch::jit::pop(stack).toTensor();
  const at::Tensor input = torch::jit::pop(stack).toTensor();
  const auto convolution =
      c10::static_intrusive_pointer_cast<FusedConvolution>(torch::jit::pop(stack).toCapsule());
  const at::Tensor result = convolution->runInPlace(input, added);
  torch::jit::push(stack, convolution->inRows() ? result.contiguous() : result);
}

at::Tensor callWithSettings(const c10::OperatorHandle& op,
                            torch::jit::Stack arguments,
                            const std::vector<c10::IValue>& geometry,
                            const std::vector<c10::IValue>& end) {
  arguments.reserve(arguments.size() + geometry.size() + end.size());
  arguments.insert(arguments.end(), geometry.begin(), geometry.end());
  arguments.insert(arguments.end(), end.begin(), end.end());
  return callTorchOperator(op, std::move(arguments));
}

}  // namespace

PackedConvolution::Shape FusedConvolution::Parameters::shape(bool transposed, at::ScalarType type) const {
  return {asImage(stride, 1), asImage(padding, 0), asImage(dilation, 1), groups, transposed, type};
}

bool FusedConvolution::available() {
  static const bool found = at::hasMKLDNN() && at::globalContext().userEnabledMkldnn() &&
                            findTorchOperator("mkldnn::_convolution_pointwise") &&
                            findTorchOperator("mkldnn::_convolution_pointwise", "binary") &&
                            findTorchOperator("mkldnn::_convolution_pointwise_", "binary") &&
                            findTorchOperator("mkldnn::_reorder_convolution_weight") &&
                            findTorchOperator("mkldnn::_get_mkldnn_serialized_md") &&
                            findTorchOperator("mkldnn::_nbytes");
  return found;
}

FoldedBatchNorm FoldedBatchNorm::of(const at::Tensor& mean,
                                    const at::Tensor& variance,
                                    const std::optional<at::Tensor>& weight,
                                    const std::optional<at::Tensor>& bias,
                                    double epsilon) {
  at::Tensor scale = at::rsqrt(variance.to(at::kDouble) + epsilon);
  if (weight) scale = scale * *weight;
  at::Tensor shift = -mean * scale;
  if (bias) shift = shift + *bias;
  return {scale.to(at::kFloat), shift.to(at::kFloat)};
}

FusedConvolution::FusedConvolution(Parameters parameters,
                                   const std::optional<FoldedBatchNorm>& batchNorm,
                                   FusedActivation activation,
                                   bool inRows,
                                   SharedWeights& weights,
                                   at::ScalarType type)
    : parameters_(std::move(parameters)),
      type_(type),
      weightSizes_(parameters_.weight.sizes().vec()),
      activation_(std::move(activation)),
      inRows_(inRows) {
  if (onGpu()) {
    foldOnGpu(batchNorm);
    return;
  }
  const auto shape = parameters_.shape(/*transposed=*/false, type_);
  const c10::List<std::optional<at::Scalar>> noScalars;
  geometry_ = {shape.padding, shape.stride, shape.dilation, shape.groups};
  ends_ = {{"none", noScalars, c10::IValue()},
           {activation_.name, activation_.scalarList(), activation_.algorithm},
           {"add", at::Scalar(1.0), reluBehindSum() ? c10::IValue(activation_.name) : c10::IValue(),
            noScalars, c10::IValue()}};
  packed_ = weights.convolution(asImage(parameters_.weight),
                                batchNorm ? std::optional(batchNorm->scale) : std::nullopt, shape);
  auto& bias = parameters_.bias;
  if (batchNorm) bias = bias ? *bias * batchNorm->scale + batchNorm->shift : batchNorm->shift;
  if (bias) bias_ = bias->to(type_);
}

bool FusedConvolution::isPointwise() const {
  const auto allAre = [](const std::vector<int64_t>& values, int64_t wanted) {
    return std::all_of(values.begin(), values.end(), [&](int64_t value) { return value == wanted; });
  };
  return !onGpu() && !inRows_ && weightSizes_.size() == 4 && weightSizes_[2] == 1 && weightSizes_[3] == 1 &&
         parameters_.groups == 1 && allAre(parameters_.stride, 1) && allAre(parameters_.padding, 0);
}

bool FusedConvolution::canRun(const at::Tensor& input) const {
  const auto dimensions = static_cast<int64_t>(weightSizes_.size());
  if (!takes(input) || input.dim() != dimensions || input.numel() == 0) return false;
  if (input.size(1) != weightSizes_[1] * parameters_.groups) return false;
  for (const int64_t size : outputSizes(input)) {
    if (size <= 0) return false;
  }
  return true;
}

// Of a type that is not the arithmetic's it is converted.
bool FusedConvolution::takes(const at::Tensor& input) const {
  const at::Tensor& weight = parameters_.weight;
  return input.device() == weight.device() &&
         (input.scalar_type() == weight.scalar_type() || input.scalar_type() == type_);
}

bool FusedConvolution::canAdd(const at::Tensor& added, const at::Tensor& input) const {
  return added.scalar_type() == type_ && added.sizes() == outputSizes(input);
}

// All that oneDNN's operator takes behind an addition. Of groups ATen does it behind the convolution, and
// cannot in bfloat16.
bool FusedConvolution::reluBehindSum() const {
  return activation_.name == "relu" && (type_ == at::kFloat || parameters_.groups == 1);
}

std::vector<int64_t> FusedConvolution::outputSizes(const at::Tensor& input) const {
  std::vector<int64_t> sizes = {input.size(0), weightSizes_[0]};
  for (std::size_t axis = 0; axis < parameters_.stride.size(); ++axis) {
    const auto dimension = static_cast<int64_t>(axis) + 2;
    const int64_t reach = parameters_.dilation[axis] * (weightSizes_[axis + 2] - 1) + 1;
    const int64_t room = input.size(dimension) + 2 * parameters_.padding[axis] - reach;
    sizes.push_back(room < 0 ? 0 : room / parameters_.stride[axis] + 1);
  }
  return sizes;
}

at::Tensor FusedConvolution::run(const at::Tensor& input, const std::optional<at::Tensor>& added) const {
  if (!canRun(input)) return runAsWritten(input, added);
  if (onGpu()) return runWithCudnn(input, added);
  static const auto unary = *findTorchOperator("mkldnn::_convolution_pointwise");
  static const auto binary = *findTorchOperator("mkldnn::_convolution_pointwise", "binary");
  const at::Tensor image = imageOf(input);
  const at::Tensor weight = packed_->weightFor(image);
  if (!added)
    return asGiven(callWithSettings(unary, {image, weight, bias_}, geometry_, ends_.activated), input.dim());
  if (!canAdd(*added, input)) {
    const at::Tensor result = callWithSettings(unary, {image, weight, bias_}, geometry_, ends_.plain);
    return activation_.apply(at::add(asGiven(result, input.dim()), *added));
  }
  at::Tensor sum = asGiven(
      callWithSettings(binary, {image, asChannelsLastImage(*added), weight, bias_}, geometry_, ends_.added),
      input.dim());
  return reluBehindSum() ? sum : activation_.applyInPlace(std::move(sum));
}

at::Tensor FusedConvolution::runInPlace(const at::Tensor& input, const at::Tensor& added) const {
  const at::Tensor whole = asImage(added);
  const bool fits = !onGpu() && canRun(input) && canAdd(added, input) && isChannelsLastImage(whole);
  if (!fits) return run(input, added);
  static const auto binary = *findTorchOperator("mkldnn::_convolution_pointwise_", "binary");
  const at::Tensor image = imageOf(input);
  callWithSettings(binary, {whole, image, packed_->weightFor(image), bias_}, geometry_, ends_.added);
  at::Tensor sum = added;
  return reluBehindSum() ? sum : activation_.applyInPlace(std::move(sum));
}

// In the type of the arithmetic, channels-last.
at::Tensor FusedConvolution::imageOf(const at::Tensor& input) const {
  const at::Tensor image = asImage(input);
  const at::MemoryFormat format = channelsLastOf(image);
  if (image.scalar_type() == type_) return image.contiguous(format);
  return image.to(type_, /*non_blocking=*/false, /*copy=*/false, format);
}

// The results and messages are the ones to have.
at::Tensor FusedConvolution::runAsWritten(const at::Tensor& input,
                                          const std::optional<at::Tensor>& added) const {
  const auto& [unused, bias, stride, padding, dilation, groups] = parameters_;
  const at::ScalarType written = parameters_.weight.scalar_type();
  const auto dimensions = static_cast<int64_t>(weightSizes_.size());
  const at::Tensor weight = onGpu() ? parameters_.weight : asGiven(packed_->plain(), dimensions).to(written);
  const at::Tensor x = takes(input) ? input.to(written) : input;
  at::Tensor result = dimensions == 3   ? at::conv1d(x, weight, bias, stride, padding, dilation, groups)
                      : dimensions == 4 ? at::conv2d(x, weight, bias, stride, padding, dilation, groups)
                                        : at::conv3d(x, weight, bias, stride, padding, dilation, groups);
  if (added) result = at::add(result, *added);
  return activation_.apply(result);
}

std::string FusedConvolution::describe() const {
  std::ostringstream text;
  text << "conv_" << weightSizes_[1] * parameters_.groups << "_to_" << weightSizes_[0];
  for (std::size_t axis = 2; axis < weightSizes_.size(); ++axis)
    text << (axis == 2 ? "_" : "x") << weightSizes_[axis];
  if (activation_.name != "none") text << "_" << activation_.name;
  return text.str();
}

const c10::Symbol& fusedConvolutionInPlaceSymbol() {
  static const c10::Symbol symbol =
      registerOperator("fused_convolution_in_place(Any convolution, Tensor input, Tensor added) -> Tensor",
                       runFusedConvolutionInPlace);
  return symbol;
}

const c10::Symbol& fusedConvolutionSymbol() {
  static const c10::Symbol symbol = registerOperator(
      "fused_convolution(Any convolution, Tensor input, Tensor? added) -> Tensor", runFusedConvolution);
  return symbol;
}

}  // namespace gradcam
