#include "core/fusion/recorded_linear.h"

#include "core/script/own_operators.h"

namespace gradcam {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Of more outputs than this, a score's gradient may name few: then the rest of the matrix is not read.
constexpr int64_t kManyOutputs = 64;
constexpr int64_t kFewOfThem = 8;  // an eighth

struct LinearFunction : torch::autograd::Function<LinearFunction> {
  static at::Tensor forward(AutogradContext* context,
                            const at::Tensor& input,
                            const c10::intrusive_ptr<RecordedLinear>& linear) {
    context->saved_data["linear"] = c10::IValue::make_capsule(linear);
    return linear->forward().run(input);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    TORCH_INTERNAL_ASSERT(!at::GradMode::is_enabled(), "a recorded linear layer has no second derivative");
    const auto linear =
        c10::static_intrusive_pointer_cast<RecordedLinear>(context->saved_data.at("linear").toCapsule());
    return {linear->inputGradient(gradients.at(0)), at::Tensor()};
  }
};

void runRecordedLinear(torch::jit::Stack& stack) {
  const at::Tensor input = torch::jit::pop(stack).toTensor();
  const auto linear = c10::static_intrusive_pointer_cast<RecordedLinear>(torch::jit::pop(stack).toCapsule());
  const bool recorded = at::GradMode::is_enabled() && linear->forward().canRun(input);
  torch::jit::push(stack, recorded ? LinearFunction::apply(input, linear) : linear->forward().run(input));
}

}  // namespace

RecordedLinear::RecordedLinear(const at::Tensor& weight,
                               const std::optional<at::Tensor>& bias,
                               SharedWeights& weights)
    : weight_(weight),
      forward_({weight, bias, {}, {}, {}, false}, weights, at::kFloat),
      transposed_(weights.linear(weight.t(), std::nullopt, at::kFloat)) {}

at::Tensor RecordedLinear::inputGradient(const at::Tensor& gradient) const {
  static const auto linear = *findTorchOperator("mkldnn::_linear_pointwise");
  if (gradient.dim() == 2 && gradient.size(1) >= kManyOutputs) {
    const at::Tensor ofFew = fromFewRows(gradient);
    if (ofFew.defined()) return ofFew;
  }
  return callTorchOperator(linear, {gradient.contiguous(), transposed_->packed(), c10::IValue(), "none",
                                    c10::List<std::optional<at::Scalar>>(), c10::IValue()});
}

// The gradient of a class's score is zero everywhere but at that class. Undefined where there are many
// others.
at::Tensor RecordedLinear::fromFewRows(const at::Tensor& gradient) const {
  const at::Tensor named = gradient.ne(0).any(0).nonzero().squeeze(1);
  if (named.size(0) * kFewOfThem > gradient.size(1)) return {};
  return at::mm(gradient.index_select(1, named), weight_.index_select(0, named));
}

const c10::Symbol& recordedLinearSymbol() {
  static const c10::Symbol symbol =
      registerOperator("recorded_linear(Any linear, Tensor input) -> Tensor", runRecordedLinear);
  return symbol;
}

}  // namespace gradcam
