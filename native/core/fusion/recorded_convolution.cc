#include "core/fusion/recorded_convolution.h"

#include "core/fusion/channels_last.h"
#include "core/script/own_operators.h"

namespace gradcam {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct ConvolutionFunction : torch::autograd::Function<ConvolutionFunction> {
  static at::Tensor forward(AutogradContext* context,
                            const at::Tensor& input,
                            const std::optional<at::Tensor>& added,
                            const c10::intrusive_ptr<RecordedConvolution>& convolution) {
    context->saved_data["convolution"] = c10::IValue::make_capsule(convolution);
    context->saved_data["sizes"] = input.sizes();
    context->saved_data["added"] = added.has_value();
    at::Tensor output = convolution->forward().run(input, added);
    if (convolution->forward().activation().name == "relu") context->save_for_backward({output});
    return output;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    TORCH_INTERNAL_ASSERT(!at::GradMode::is_enabled(), "a recorded convolution has no second derivative");
    const auto convolution = c10::static_intrusive_pointer_cast<RecordedConvolution>(
        context->saved_data.at("convolution").toCapsule());
    const variable_list saved = context->get_saved_variables();
    at::Tensor gradient = gradients.at(0);
    if (!saved.empty()) gradient = at::threshold_backward(gradient, saved[0], 0);
    at::Tensor ofInput;
    if (context->needs_input_grad(0))
      ofInput = convolution->inputGradient(gradient, context->saved_data.at("sizes").toIntVector());
    const bool isAdded = context->saved_data.at("added").toBool();  // without it there is no such input
    const at::Tensor ofAdded = isAdded && context->needs_input_grad(1) ? gradient : at::Tensor();
    return {ofInput, ofAdded, at::Tensor()};
  }
};

void runRecordedConvolution(torch::jit::Stack& stack) {
  const auto added = torch::jit::pop(stack).toOptional<at::Tensor>();
  const at::Tensor input = torch::jit::pop(stack).toTensor();
  const auto convolution =
      c10::static_intrusive_pointer_cast<RecordedConvolution>(torch::jit::pop(stack).toCapsule());
  const FusedConvolution& forward = convolution->forward();
  at::Tensor result;
  if (!at::GradMode::is_enabled()) {
    result = forward.run(input, added);
  } else if (forward.canRun(input) && (!added || forward.canAdd(*added, input))) {
    result = ConvolutionFunction::apply(input, added, convolution);
  } else {
    result = forward.runAsWritten(input, added);
  }
  torch::jit::push(stack, forward.inRows() ? result.contiguous() : result);
}

}  // namespace

bool RecordedConvolution::available() {
  static const bool found = FusedConvolution::available() &&
                            findTorchOperator("mkldnn::_convolution_transpose_pointwise") &&
                            findTorchOperator("mkldnn::_reorder_convolution_transpose_weight");
  return found;
}

bool RecordedConvolution::isWorthIt(const FusedConvolution::Parameters& parameters) {
  return parameters.weight.dim() < 5 || parameters.groups == 1 || parameters.weight.size(1) == 1;
}

RecordedConvolution::RecordedConvolution(const FusedConvolution::Parameters& parameters,
                                         const std::optional<FoldedBatchNorm>& batchNorm,
                                         const FusedActivation& activation,
                                         bool inRows,
                                         SharedWeights& weights)
    : forward_(parameters, batchNorm, activation, inRows, weights, parameters.weight.scalar_type()),
      kernel_(asImage(parameters.weight).sizes().slice(2).vec()),
      shape_(parameters.shape(/*transposed=*/true, parameters.weight.scalar_type())),
      transposed_(weights.convolution(
          asImage(parameters.weight), batchNorm ? std::optional(batchNorm->scale) : std::nullopt, shape_)) {}

// What a convolution does to its input's gradient is what is called a transposed convolution.
at::Tensor RecordedConvolution::inputGradient(const at::Tensor& gradient, at::IntArrayRef inputSizes) const {
  static const auto transpose = *findTorchOperator("mkldnn::_convolution_transpose_pointwise");
  const at::Tensor image = asChannelsLastImage(gradient);
  const std::vector<int64_t> places = asImage(inputSizes.slice(2).vec(), 1);
  // Rows and columns behind the last place of the kernel have no part in the result.
  std::vector<int64_t> rest;
  for (std::size_t axis = 0; axis < kernel_.size(); ++axis) {
    const int64_t reach = shape_.dilation[axis] * (kernel_[axis] - 1) + 1;
    rest.push_back(places[axis] - (image.size(static_cast<int64_t>(axis) + 2) - 1) * shape_.stride[axis] +
                   2 * shape_.padding[axis] - reach);
  }
  const at::Tensor result =
      callTorchOperator(transpose, {image, transposed_->weightFor(image, rest), c10::IValue(), shape_.padding,
                                    rest, shape_.stride, shape_.dilation, shape_.groups, "none",
                                    c10::List<std::optional<at::Scalar>>(), c10::IValue()});
  return asGiven(result, gradient.dim());
}

const c10::Symbol& recordedConvolutionSymbol() {
  static const c10::Symbol symbol = registerOperator(
      "recorded_convolution(Any convolution, Tensor input, Tensor? added) -> Tensor", runRecordedConvolution);
  return symbol;
}

}  // namespace gradcam
