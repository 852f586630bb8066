#include "core/fusion/fused_linear.h"

#include <sstream>

#include "core/script/own_operators.h"

namespace gradcam {
namespace {

void runFusedLinear(torch::jit::Stack& stack) {
  const auto added = torch::jit::pop(stack).toOptional<at::Tensor>();
  const at::Tensor input = torch::jit::pop(stack).toTensor();
  const auto linear = c10::static_intrusive_pointer_cast<FusedLinear>(torch::jit::pop(stack).toCapsule());
  torch::jit::push(stack, linear->run(input, added));
}

}  // namespace

bool FusedLinear::available() {
  return at::hasMKLDNN() && at::globalContext().userEnabledMkldnn() &&
         findTorchOperator("mkldnn::_linear_pointwise") &&
         findTorchOperator("mkldnn::_linear_pointwise", "binary") &&
         findTorchOperator("mkldnn::_reorder_linear_weight") && findTorchOperator("mkldnn::_nbytes");
}

FusedLinear::FusedLinear(Parameters parameters, SharedWeights& weights, at::ScalarType type)
    : parameters_(std::move(parameters)),
      type_(type),
      inputs_(parameters_.weight.size(1)),
      outputs_(parameters_.weight.size(0)),
      weight_(weights.linear(parameters_.weight, parameters_.scale, type_)) {
  parameters_.weight.reset();
  if (parameters_.scale && parameters_.bias) parameters_.bias = *parameters_.bias * *parameters_.scale;
}

at::Tensor FusedLinear::run(const at::Tensor& input, const std::optional<at::Tensor>& added) const {
  static const auto binary = *findTorchOperator("mkldnn::_linear_pointwise", "binary");
  if (!added) return runAlone(input);
  if (type_ == at::kFloat && canRun(input)) {
    if (const auto term = inOrderOfProduct(input, *added)) {
      return permuted(
          callTorchOperator(binary, {input.contiguous(), *term, weight_->packed(), parameters_.bias, "add"}));
    }
  }
  const at::Tensor product = runAlone(input);
  return parameters_.addedFirst ? at::add(*added, product) : at::add(product, *added);
}

// The product, without the addition.
at::Tensor FusedLinear::runAlone(const at::Tensor& input) const {
  static const auto linear = *findTorchOperator("mkldnn::_linear_pointwise");
  const auto& [unused, bias, scale, permutation, activation, addedFirst] = parameters_;
  if (!canRun(input)) {
    const bool reduced = input.scalar_type() == type_;
    return activation.apply(
        permuted(at::linear(reduced ? input.to(at::kFloat) : input, weight_->plain(), bias)));
  }
  const at::Tensor product =
      callTorchOperator(linear, {input.to(type_).contiguous(), weight_->packed(), bias, activation.name,
                                 activation.scalarList(), activation.algorithm});
  return permuted(product.to(at::kFloat));
}

bool FusedLinear::canRun(const at::Tensor& input) const {
  const at::ScalarType given = input.scalar_type();
  return input.is_cpu() && (given == at::kFloat || given == type_) && !input.is_nested() &&
         input.dim() >= 2 && input.numel() > 0 && input.size(-1) == inputs_;
}

// What is added with its axes as the product has them. None where it is not of the product's shape and order:
// then the sum would lie in memory in another order than it did.
std::optional<at::Tensor> FusedLinear::inOrderOfProduct(const at::Tensor& input,
                                                        const at::Tensor& added) const {
  const auto& permutation = parameters_.permutation;
  if (!added.is_cpu() || added.scalar_type() != at::kFloat || added.layout() != at::kStrided ||
      added.dim() != input.dim())
    return std::nullopt;
  at::Tensor term = added;
  if (!permutation.empty()) {
    if (static_cast<int64_t>(permutation.size()) != input.dim()) return std::nullopt;
    std::vector<int64_t> back(permutation.size());
    for (std::size_t axis = 0; axis < permutation.size(); ++axis)
      back[permutation[axis]] = static_cast<int64_t>(axis);
    term = added.permute(back);
  }
  const bool alike = term.sizes().slice(0, term.dim() - 1) == input.sizes().slice(0, input.dim() - 1) &&
                     term.size(-1) == outputs_ && term.is_contiguous();
  return alike ? std::optional(term) : std::nullopt;
}

at::Tensor FusedLinear::permuted(const at::Tensor& product) const {
  return parameters_.permutation.empty() ? product : product.permute(parameters_.permutation);
}

std::string FusedLinear::describe() const {
  std::ostringstream text;
  text << "linear_" << inputs_ << "_to_" << outputs_;
  if (parameters_.scale) text << "_scaled";
  if (parameters_.activation.name != "none") text << "_" << parameters_.activation.name;
  return text.str();
}

const c10::Symbol& fusedLinearSymbol() {
  static const c10::Symbol symbol =
      registerOperator("fused_linear(Any linear, Tensor input, Tensor? added) -> Tensor", runFusedLinear);
  return symbol;
}

}  // namespace gradcam
