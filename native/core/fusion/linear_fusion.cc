#include "core/fusion/linear_fusion.h"

#include "core/fusion/fused_linear.h"
#include "core/fusion/recorded_linear.h"
#include "core/script/operator_arguments.h"

namespace gradcam {
namespace {

using torch::jit::Node;
using torch::jit::Value;

// The constant order of axes that `node` gives its first input.
std::optional<std::vector<int64_t>> permutationOf(const Node* node) {
  if (!node->matches("aten::permute(Tensor(a) self, int[] dims) -> Tensor(a)")) return std::nullopt;
  const auto axes = constantInput(node, "dims");
  if (!axes || !axes->isIntList()) return std::nullopt;
  std::vector<int64_t> permutation = axes->toIntVector();
  std::vector<bool> seen(permutation.size());
  for (int64_t& axis : permutation) {
    const auto rank = static_cast<int64_t>(permutation.size());
    if (axis < -rank || axis >= rank) return std::nullopt;
    if (axis < 0) axis += rank;
    seen[axis] = true;
  }
  for (const bool each : seen) {
    if (!each) return std::nullopt;
  }
  return permutation;
}

// What `node` multiplies each feature of `product` with, [features]; the features lie on the axis that a
// permutation puts last ones on.
std::optional<at::Tensor> featureScale(const Node* node,
                                       const Value* product,
                                       int64_t features,
                                       const std::vector<int64_t>& permutation) {
  if (!node->matches("aten::mul.Tensor(Tensor self, Tensor other) -> Tensor")) return std::nullopt;
  const Value* other = node->input(0) == product ? node->input(1) : node->input(0);
  const auto constant = torch::jit::toIValue(other);
  if (!constant || !constant->isTensor()) return std::nullopt;
  const at::Tensor& scale = constant->toTensor();
  if (!scale.defined() || scale.scalar_type() != at::kFloat || !scale.is_cpu() ||
      scale.layout() != at::kStrided || scale.numel() != features)
    return std::nullopt;
  // From the last axis: how many axes the product has is only known where they are permuted.
  int64_t behind = 0;
  if (!permutation.empty()) {
    const auto rank = static_cast<int64_t>(permutation.size());
    if (scale.dim() > rank) return std::nullopt;
    while (permutation[rank - 1 - behind] != rank - 1) ++behind;
  } else if (scale.dim() != 1) {
    return std::nullopt;
  }
  if (scale.dim() <= behind || scale.size(scale.dim() - 1 - behind) != features) return std::nullopt;
  return scale.detach().reshape({-1});
}

struct LinearFusion {
  std::vector<Node*> replaced;  // the product and what follows it
  FusedLinear::Parameters parameters;
  Value* added = nullptr;
  int inside = 0;  // operations that became a part of the product
};

LinearFusion findLinearFusion(Node* linear, const GraphRewriter& rewriter) {
  LinearFusion fusion;
  fusion.replaced.push_back(linear);
  auto& [weight, bias, scale, permutation, activation, addedFirst] = fusion.parameters;
  weight = constantInput(linear, "weight")->toTensor().detach();
  bias = constantInput(linear, "bias")->toOptional<at::Tensor>();
  // The primitive runs where the last replaced operation was: nothing may have changed the input until then.
  if (rewriter.isRewritten(linear->input(0))) return fusion;

  Value* product = linear->output();
  Node* user = onlyUser(product);
  if (user == nullptr) return fusion;
  if (const auto found = FusedActivation::of(user)) {
    activation = *found;
    fusion.replaced.push_back(user);
    fusion.inside = 1;
    return fusion;
  }
  std::vector<Node*> seen;
  std::vector<int64_t> axes;
  if (const auto found = permutationOf(user)) {
    axes = *found;
    seen.push_back(user);
    product = user->output();
    user = onlyUser(product);
  }
  const auto take = [&] {
    seen.push_back(user);
    fusion.replaced.insert(fusion.replaced.end(), seen.begin(), seen.end());
    seen.clear();
    permutation = axes;
    product = user->output();
    user = onlyUser(product);
    ++fusion.inside;
  };
  if (user != nullptr) {
    scale = featureScale(user, product, weight.size(0), axes);
    if (scale) take();
  }
  Value* other = user == nullptr ? nullptr : otherTerm(user, product);
  // It is to be read now, not later; a constant is the same for all rows as a rule.
  if (other == nullptr || rewriter.isRewritten(other) || torch::jit::toIValue(other)) return fusion;
  fusion.added = other;
  addedFirst = user->input(0) == other;
  take();
  return fusion;
}

}  // namespace

bool isFusableLinear(const Node* node) {
  if (!FusedLinear::available()) return false;
  if (!node->matches("aten::linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor")) return false;
  const auto weight = constantInput(node, "weight");
  if (!weight || !weight->isTensor() || !constantInput(node, "bias")) return false;
  const at::Tensor& matrix = weight->toTensor();
  return matrix.dim() == 2 && matrix.scalar_type() == at::kFloat && matrix.is_cpu();
}

void recordLinear(Node* node, GraphRewriter& rewriter) {
  ++rewriter.facts().fusedLinears;
  rewriter.replace({node}, recordedLinearSymbol(),
                   c10::make_intrusive<RecordedLinear>(constantInput(node, "weight")->toTensor().detach(),
                                                       constantInput(node, "bias")->toOptional<at::Tensor>(),
                                                       rewriter.weights()),
                   {node->input(0)});
}

void fuseLinear(Node* node, GraphRewriter& rewriter, at::ScalarType type) {
  LinearFusion fusion = findLinearFusion(node, rewriter);
  auto linear = c10::make_intrusive<FusedLinear>(std::move(fusion.parameters), rewriter.weights(), type);
  ++rewriter.facts().fusedLinears;
  rewriter.facts().fusedOperations += fusion.inside;
  rewriter.replace(fusion.replaced, fusedLinearSymbol(), std::move(linear), {node->input(0), fusion.added});
}

}  // namespace gradcam
