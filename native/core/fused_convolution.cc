#include "core/fused_convolution.h"

#include <sstream>

#include "core/operator_names.h"

namespace gradcam {
namespace {

std::optional<c10::OperatorHandle> findOperator(const char* name, const char* overload = "") {
  return c10::Dispatcher::singleton().findSchema({name, overload});
}

at::Tensor call(const c10::OperatorHandle& op, torch::jit::Stack stack) {
  op.callBoxed(stack);
  return torch::jit::pop(stack).toTensor();
}

c10::IValue scalarsOf(const FusedActivation& activation) {
  c10::List<std::optional<at::Scalar>> scalars;
  for (const auto& scalar : activation.scalars) scalars.push_back(scalar);
  return scalars;
}

at::Tensor applyAsWritten(const at::Tensor& x, const FusedActivation& activation) {
  const auto scalar = [&](std::size_t index) { return activation.scalars.at(index).value(); };
  if (activation.name == "relu") return at::relu(x);
  if (activation.name == "hardtanh") return at::hardtanh(x, scalar(0), scalar(1));
  if (activation.name == "leaky_relu") return at::leaky_relu(x, scalar(0));
  if (activation.name == "sigmoid") return at::sigmoid(x);
  if (activation.name == "tanh") return at::tanh(x);
  if (activation.name == "hardswish") return at::hardswish(x);
  if (activation.name == "swish") return at::silu(x);
  if (activation.name == "gelu") return at::gelu(x, activation.algorithm.value_or("none"));
  TORCH_INTERNAL_ASSERT(activation.name == "none", "an activation without a written form: ", activation.name);
  return x;
}

void runFusedConvolution(torch::jit::Stack& stack) {
  const auto added = torch::jit::pop(stack).toOptional<at::Tensor>();
  const at::Tensor input = torch::jit::pop(stack).toTensor();
  const auto convolution =
      c10::static_intrusive_pointer_cast<FusedConvolution>(torch::jit::pop(stack).toCapsule());
  torch::jit::push(stack, convolution->run(input, added));
}

}  // namespace

bool FusedConvolution::available() {
  return at::hasMKLDNN() && at::globalContext().userEnabledMkldnn() &&
         findOperator("mkldnn::_convolution_pointwise") &&
         findOperator("mkldnn::_convolution_pointwise", "binary") &&
         findOperator("mkldnn::_reorder_convolution_weight");
}

FusedConvolution::FusedConvolution(Parameters parameters, FusedActivation activation)
    : parameters_(std::move(parameters)),
      activation_(std::move(activation)),
      weight_(std::move(parameters_.weight)) {}

bool FusedConvolution::fits(const at::Tensor& input) const {
  if (!input.is_cpu() || input.scalar_type() != at::kFloat || input.dim() != 4 || input.numel() == 0)
    return false;
  if (input.size(1) != weight_.size(1) * parameters_.groups) return false;
  for (const int64_t size : outputSizes(input)) {
    if (size <= 0) return false;
  }
  return true;
}

std::vector<int64_t> FusedConvolution::outputSizes(const at::Tensor& input) const {
  std::vector<int64_t> sizes = {input.size(0), weight_.size(0)};
  for (std::size_t axis = 0; axis < 2; ++axis) {
    const auto dimension = static_cast<int64_t>(axis) + 2;
    const int64_t reach = parameters_.dilation[axis] * (weight_.size(dimension) - 1) + 1;
    const int64_t room = input.size(dimension) + 2 * parameters_.padding[axis] - reach;
    sizes.push_back(room < 0 ? 0 : room / parameters_.stride[axis] + 1);
  }
  return sizes;
}

at::Tensor FusedConvolution::packedWeight(const at::Tensor& input) const {
  static const auto reorder = *findOperator("mkldnn::_reorder_convolution_weight");
  std::lock_guard lock(mutex_);
  if (!weight_.is_mkldnn()) {
    const std::vector<int64_t> one = {1, input.size(1), input.size(2), input.size(3)};
    weight_ = call(reorder, {weight_.contiguous(at::MemoryFormat::ChannelsLast), parameters_.padding,
                             parameters_.stride, parameters_.dilation, parameters_.groups, one});
  }
  return weight_;
}

at::Tensor FusedConvolution::plainWeight() const {
  std::lock_guard lock(mutex_);
  return weight_.is_mkldnn() ? weight_.to_dense() : weight_;
}

at::Tensor FusedConvolution::run(const at::Tensor& input, const std::optional<at::Tensor>& added) const {
  if (!fits(input)) return runAsWritten(input, added);
  static const auto unary = *findOperator("mkldnn::_convolution_pointwise");
  static const auto binary = *findOperator("mkldnn::_convolution_pointwise", "binary");
  const at::Tensor weight = packedWeight(input);
  const at::Tensor image = input.contiguous(at::MemoryFormat::ChannelsLast);
  const auto& [unused, bias, stride, padding, dilation, groups] = parameters_;
  if (!added) {
    return call(unary, {image, weight, bias, padding, stride, dilation, groups, activation_.name,
                        scalarsOf(activation_), activation_.algorithm});
  }
  if (added->scalar_type() != at::kFloat || added->sizes() != outputSizes(input)) {
    return applyAsWritten(at::add(call(unary, {image, weight, bias, padding, stride, dilation, groups, "none",
                                               scalarsOf({}), std::nullopt}),
                                  *added),
                          activation_);
  }
  const bool activated = activation_.name != "none";
  return call(binary, {image, added->contiguous(at::MemoryFormat::ChannelsLast), weight, bias, padding,
                       stride, dilation, groups, "add", at::Scalar(1.0),
                       activated ? c10::IValue(activation_.name) : c10::IValue(), scalarsOf(activation_),
                       activation_.algorithm});
}

// What oneDNN cannot take, and every mistake, goes to the operators the model was written with, whose results
// and messages are the ones to have.
at::Tensor FusedConvolution::runAsWritten(const at::Tensor& input,
                                          const std::optional<at::Tensor>& added) const {
  const auto& [unused, bias, stride, padding, dilation, groups] = parameters_;
  at::Tensor result = at::conv2d(input, plainWeight(), bias, stride, padding, dilation, groups);
  if (added) result = at::add(result, *added);
  return applyAsWritten(result, activation_);
}

std::string FusedConvolution::describe() const {
  std::ostringstream text;
  const auto sizes = plainWeight().sizes();
  text << "conv_" << sizes[1] * parameters_.groups << "_to_" << sizes[0] << "_" << sizes[2] << "x"
       << sizes[3];
  if (activation_.name != "none") text << "_" << activation_.name;
  return text.str();
}

const c10::Symbol& fusedConvolutionSymbol() {
  static const torch::jit::RegisterOperators registered({torch::jit::Operator(
      operatorName("fused_convolution") + "(Any convolution, Tensor input, Tensor? added) -> Tensor",
      runFusedConvolution, c10::AliasAnalysisKind::FROM_SCHEMA)});
  static const c10::Symbol symbol = operatorSymbol("fused_convolution");
  return symbol;
}

}  // namespace gradcam
