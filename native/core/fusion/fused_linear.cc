#include "core/fusion/fused_linear.h"

#include <sstream>

#include "core/script/own_operators.h"

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
         findTorchOperator("mkldnn::_reorder_linear_weight") && findTorchOperator("mkldnn::_nbytes");
}

FusedLinear::FusedLinear(const at::Tensor& weight,
                         std::optional<at::Tensor> bias,
                         FusedActivation activation,
                         SharedWeights& weights)
    : inputs_(weight.size(1)),
      outputs_(weight.size(0)),
      bias_(std::move(bias)),
      activation_(std::move(activation)),
      weight_(weights.linear(weight)) {}

bool FusedLinear::canRun(const at::Tensor& input) const {
  return input.is_cpu() && input.scalar_type() == at::kFloat && !input.is_nested() && input.dim() >= 2 &&
         input.numel() > 0 && input.size(-1) == inputs_;
}

at::Tensor FusedLinear::run(const at::Tensor& input) const {
  static const auto linear = *findTorchOperator("mkldnn::_linear_pointwise");
  if (!canRun(input)) return activation_.apply(at::linear(input, weight_->plain(), bias_));
  return callTorchOperator(linear, {input.contiguous(), weight_->packed(), bias_, activation_.name,
                                    activation_.scalarList(), activation_.algorithm});
}

std::string FusedLinear::describe() const {
  std::ostringstream text;
  text << "linear_" << inputs_ << "_to_" << outputs_;
  if (activation_.name != "none") text << "_" << activation_.name;
  return text.str();
}

const c10::Symbol& fusedLinearSymbol() {
  static const c10::Symbol symbol =
      registerOperator("fused_linear(Any linear, Tensor input) -> Tensor", runFusedLinear);
  return symbol;
}

}  // namespace gradcam
