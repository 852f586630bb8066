#include "core/prefix_optimization.h"

#include <map>

#include "core/fused_convolution.h"

namespace gradcam {
namespace {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::toIValue;
using torch::jit::Value;

// An operation's argument, where it is a constant.
std::optional<c10::IValue> constantArgument(const Node* node, const char* name) {
  const Value* value = node->namedInput(name);
  return toIValue(value);
}

// The two numbers of an argument such as stride, which may be given as one.
std::optional<std::vector<int64_t>> pairArgument(const Node* node, const char* name) {
  const auto value = constantArgument(node, name);
  if (!value || !value->isIntList()) return std::nullopt;
  std::vector<int64_t> pair = value->toIntVector();
  if (pair.size() == 1) pair.push_back(pair.front());
  if (pair.size() != 2) return std::nullopt;
  return pair;
}

// The parameters of a convolution of images with constant float32 weights; none for every other node.
std::optional<FusedConvolution::Parameters> convolutionParameters(const Node* node) {
  const bool written = node->matches(
      "aten::conv2d(Tensor input, Tensor weight, Tensor? bias=None, int[2] stride=1, int[2] padding=0, "
      "int[2] "
      "dilation=1, int groups=1) -> Tensor");
  if (!written && node->kind() != c10::aten::_convolution) return std::nullopt;
  if (!written && constantArgument(node, "transposed") != c10::IValue(false)) return std::nullopt;

  const auto weight = constantArgument(node, "weight");
  const auto bias = constantArgument(node, "bias");
  const auto groups = constantArgument(node, "groups");
  const auto stride = pairArgument(node, "stride");
  const auto padding = pairArgument(node, "padding");
  const auto dilation = pairArgument(node, "dilation");
  if (!weight || !weight->isTensor() || !bias || !groups || !stride || !padding || !dilation)
    return std::nullopt;
  const at::Tensor& kernel = weight->toTensor();
  if (kernel.dim() != 4 || kernel.scalar_type() != at::kFloat || !kernel.is_cpu()) return std::nullopt;
  return FusedConvolution::Parameters{
      kernel.detach(), bias->toOptional<at::Tensor>(), *stride, *padding, *dilation, groups->toInt()};
}

std::optional<FusedActivation> activationOf(const Node* node) {
  static const std::map<std::string, std::string> withoutArguments = {
      {"aten::relu", "relu"},  {"aten::sigmoid", "sigmoid"},     {"aten::tanh", "tanh"},
      {"aten::silu", "swish"}, {"aten::hardswish", "hardswish"},
  };
  const std::string kind = node->kind().toQualString();
  if (const auto found = withoutArguments.find(kind); found != withoutArguments.end()) {
    return FusedActivation{found->second, {}, std::nullopt};
  }
  if (kind == "aten::relu6") return FusedActivation{"hardtanh", {at::Scalar(0), at::Scalar(6)}, std::nullopt};
  if (kind == "aten::hardtanh") {
    const auto low = constantArgument(node, "min_val");
    const auto high = constantArgument(node, "max_val");
    if (low && high) return FusedActivation{"hardtanh", {low->toScalar(), high->toScalar()}, std::nullopt};
  }
  if (kind == "aten::leaky_relu") {
    if (const auto slope = constantArgument(node, "negative_slope")) {
      return FusedActivation{"leaky_relu", {slope->toScalar()}, std::nullopt};
    }
  }
  if (kind == "aten::gelu") {
    if (const auto form = constantArgument(node, "approximate")) {
      return FusedActivation{"gelu", {}, form->toStringRef()};
    }
  }
  return std::nullopt;
}

// The one operation that uses a value, in the same block.
Node* onlyUser(const Value* value) {
  if (value->uses().size() != 1) return nullptr;
  Node* user = value->uses()[0].user;
  return user->owningBlock() == value->node()->owningBlock() ? user : nullptr;
}

// The other term, where `node` adds a tensor of equal weight to `term`.
Value* otherTerm(const Node* node, const Value* term) {
  if (!node->matches("aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor"))
    return nullptr;
  const auto alpha = toIValue(node->input(2));
  if (!alpha || !alpha->isInt() || alpha->toInt() != 1) return nullptr;
  if (node->input(0) == node->input(1)) return nullptr;
  return node->input(0) == term ? node->input(1) : node->input(0);
}

struct Fusion {
  std::vector<Node*> replaced;  // the convolution and what follows it
  Value* added = nullptr;
  FusedActivation activation;
};

Fusion findFusion(Node* convolution, bool inputIsRewritten) {
  Fusion fusion;
  fusion.replaced.push_back(convolution);
  // The primitive runs where the last replaced operation was: nothing may have changed the input until then.
  if (inputIsRewritten) return fusion;
  const auto next = [&] { return onlyUser(fusion.replaced.back()->output()); };
  if (Node* user = next()) {
    if (Value* other = otherTerm(user, convolution->output())) {
      fusion.added = other;
      fusion.replaced.push_back(user);
    }
  }
  if (Node* user = next()) {
    if (const auto activation = activationOf(user)) {
      fusion.activation = *activation;
      fusion.replaced.push_back(user);
    }
  }
  return fusion;
}

}  // namespace

std::vector<c10::IValue> optimizePrefix(std::shared_ptr<Graph>& graph) {
  std::vector<c10::IValue> convolutions;
  if (!FusedConvolution::available()) return convolutions;
  torch::jit::RemoveTensorMutation(graph);

  std::vector<Node*> found;
  std::vector<bool> inputIsRewritten;
  {
    const torch::jit::AliasDb aliases(graph);
    for (Node* node : graph->nodes()) {
      if (!convolutionParameters(node)) continue;
      found.push_back(node);
      inputIsRewritten.push_back(aliases.hasWriters(node->input(0)));
    }
  }
  for (std::size_t index = 0; index < found.size(); ++index) {
    Node* node = found[index];
    const Fusion fusion = findFusion(node, inputIsRewritten[index]);
    auto convolution = c10::make_intrusive<FusedConvolution>(*convolutionParameters(node), fusion.activation);
    Value* handle = graph->addInput(convolution->describe());
    handle->setType(c10::CapsuleType::get());
    convolutions.push_back(c10::IValue::make_capsule(std::move(convolution)));

    torch::jit::WithInsertPoint here(fusion.replaced.back());
    Value* added = fusion.added ? fusion.added : graph->insertConstant(c10::IValue());
    Node* fused =
        graph->insertNode(graph->create(fusedConvolutionSymbol(), {handle, node->input(0), added}, 1));
    fusion.replaced.back()->output()->replaceAllUsesWith(fused->output());
    for (auto replaced = fusion.replaced.rbegin(); replaced != fusion.replaced.rend(); ++replaced) {
      (*replaced)->destroy();
    }
  }
  torch::jit::EliminateDeadCode(graph);
  return convolutions;
}

}  // namespace gradcam
