#include "core/fusion/fused_activation.h"

#include <map>

#include "core/script/operator_arguments.h"

namespace gradcam {

std::optional<FusedActivation> FusedActivation::of(const torch::jit::Node* node) {
  static const std::map<std::string, std::string> withoutArguments = {
      {"aten::relu", "relu"},  {"aten::sigmoid", "sigmoid"},     {"aten::tanh", "tanh"},
      {"aten::silu", "swish"}, {"aten::hardswish", "hardswish"}, {"aten::hardsigmoid", "hardsigmoid"},
  };
  const std::string kind = node->kind().toQualString();
  if (const auto found = withoutArguments.find(kind); found != withoutArguments.end()) {
    return FusedActivation{found->second, {}, std::nullopt};
  }
  if (kind == "aten::relu6") return FusedActivation{"hardtanh", {at::Scalar(0), at::Scalar(6)}, std::nullopt};
  if (kind == "aten::hardtanh") {
    const auto low = constantInput(node, "min_val");
    const auto high = constantInput(node, "max_val");
    if (low && high) return FusedActivation{"hardtanh", {low->toScalar(), high->toScalar()}, std::nullopt};
  }
  if (kind == "aten::leaky_relu") {
    if (const auto slope = constantInput(node, "negative_slope")) {
      return FusedActivation{"leaky_relu", {slope->toScalar()}, std::nullopt};
    }
  }
  if (kind == "aten::gelu") {
    if (const auto form = constantInput(node, "approximate")) {
      return FusedActivation{"gelu", {}, form->toStringRef()};
    }
  }
  return std::nullopt;
}

c10::List<std::optional<at::Scalar>> FusedActivation::scalarList() const {
  c10::List<std::optional<at::Scalar>> list;
  for (const auto& scalar : scalars) list.push_back(scalar);
  return list;
}

at::Tensor FusedActivation::apply(const at::Tensor& x) const {
  const auto scalar = [&](std::size_t index) { return scalars.at(index).value(); };
  if (name == "relu") return at::relu(x);
  if (name == "hardtanh") return at::hardtanh(x, scalar(0), scalar(1));
  if (name == "leaky_relu") return at::leaky_relu(x, scalar(0));
  if (name == "sigmoid") return at::sigmoid(x);
  if (name == "tanh") return at::tanh(x);
  if (name == "hardswish") return at::hardswish(x);
  if (name == "hardsigmoid") return at::hardsigmoid(x);
  if (name == "swish") return at::silu(x);
  if (name == "gelu") return at::gelu(x, algorithm.value_or("none"));
  TORCH_INTERNAL_ASSERT(name == "none", "an activation without a written form: ", name);
  return x;
}

at::Tensor FusedActivation::applyInPlace(at::Tensor x) const {
  const auto scalar = [&](std::size_t index) { return scalars.at(index).value(); };
  if (name == "relu") return x.relu_();
  if (name == "hardtanh") return at::hardtanh_(x, scalar(0), scalar(1));
  if (name == "leaky_relu") return at::leaky_relu_(x, scalar(0));
  if (name == "sigmoid") return x.sigmoid_();
  if (name == "tanh") return x.tanh_();
  if (name == "hardswish") return at::hardswish_(x);
  if (name == "hardsigmoid") return at::hardsigmoid_(x);
  if (name == "swish") return at::silu_(x);
  return apply(x);
}

std::optional<c10::OperatorHandle> findTorchOperator(const char* name, const char* overload) {
  return c10::Dispatcher::singleton().findSchema({name, overload});
}

at::Tensor callTorchOperator(const c10::OperatorHandle& op, torch::jit::Stack arguments) {
  const at::AutoDispatchBelowADInplaceOrView withoutAutograd;  // which has nothing to record of them
  op.callBoxed(arguments);
  return torch::jit::pop(arguments).toTensor();
}

}  // namespace gradcam
