#include "core/fused_linear.h"

#include <sstream>

#include "core/operator_names.h"

namespace gradcam {
namespace {

void runFusedLinear(torch::jit::Stack& stack) {
  const at::Tensor input = torch::jit::pop(stack).toTensor();
  const auto linear = c10::static_intrusive_pointer_cast<FusedLinear>(torch::jit::pop(stack).toCapsule());
  torch::jit::push(stack, linear->run(input));
}

}  // namespace

bool FusedLinear::available() {
  return at::hasMKLDNN() && at::globalContext().userEnabledMkldnn() &&
         findTorchOperator("mkldnn::_linear_pointwise") &&
         findTorchOperator("mkldnn::_reorder_linear_weight");
}

FusedLinear::FusedLinear(at::Tensor weight, std::optional<at::Tensor> bias, FusedActivation activation)
    : inputs_(weight.size(1)),
      outputs_(weight.size(0)),
      bias_(std::move(bias)),
      activation_(std::move(activation)),
      weight_(std::move(weight)) {}

at::Tensor FusedLinear::packedWeight() const {
  static const auto reorder = *findTorchOperator("mkldnn::_reorder_linear_weight");
  std::lock_guard lock(mutex_);
  if (!weight_.is_mkldnn()) weight_ = callTorchOperator(reorder, {weight_.contiguous(), c10::IValue()});
  return weight_;
}

at::Tensor FusedLinear::plainWeight() const {
  std::lock_guard lock(mutex_);
  return weight_.is_mkldnn() ? weight_.to_dense() : weight_;
}

at::Tensor FusedLinear::run(const at::Tensor& input) const {
  static const auto linear = *findTorchOperator("mkldnn::_linear_pointwise");
  const bool fits = input.is_cpu() && input.scalar_type() == at::kFloat && input.dim() >= 2 &&
                    input.numel() > 0 && input.size(-1) == inputs_;
  // What oneDNN cannot take, and every mistake, goes to the operator the model was written with.
  if (!fits) return activation_.apply(at::linear(input, plainWeight(), bias_));
  return callTorchOperator(linear, {input.contiguous(), packedWeight(), bias_, activation_.name,
                                    activation_.scalarList(), activation_.algorithm});
}

std::string FusedLinear::describe() const {
  std::ostringstream text;
  text << "linear_" << inputs_ << "_to_" << outputs_;
  if (activation_.name != "none") text << "_" << activation_.name;
  return text.str();
}

const c10::Symbol& fusedLinearSymbol() {
  static const torch::jit::RegisterOperators registered(
      {torch::jit::Operator(operatorName("fused_linear") + "(Any linear, Tensor input) -> Tensor",
                            runFusedLinear, c10::AliasAnalysisKind::FROM_SCHEMA)});
  static const c10::Symbol symbol = operatorSymbol("fused_linear");
  return symbol;
}

}  // namespace gradcam
