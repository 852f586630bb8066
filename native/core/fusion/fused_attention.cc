#include "core/fusion/fused_attention.h"

#include "core/script/operator_arguments.h"
#include "core/script/own_operators.h"

namespace gradcam {
namespace {

// Positions of the operator's arguments.
enum Argument : std::size_t { kQuery, kKey, kValue, kFeatures, kHeads, kMask = 9, kNeedWeights, kCount = 13 };

void runFusedAttention(torch::jit::Stack& stack) {
  const torch::jit::Stack arguments = torch::jit::pop(stack, Argument::kCount);
  const auto attention =
      c10::static_intrusive_pointer_cast<FusedAttention>(torch::jit::pop(stack).toCapsule());
  auto [result, weights] = attention->run(arguments);
  torch::jit::push(stack, std::move(result), std::move(weights));
}

}  // namespace

c10::intrusive_ptr<FusedAttention> FusedAttention::of(const torch::jit::Node* node, SharedWeights& shared) {
  const std::string kind = node->kind().toQualString();
  if (kind != "aten::_native_multi_head_attention" || node->inputs().size() != Argument::kCount) return {};
  std::vector<at::Tensor> weights;
  for (const char* name : {"qkv_weight", "qkv_bias", "proj_weight", "proj_bias"}) {
    const auto weight = constantInput(node, name);
    if (!weight || !weight->isTensor()) return {};
    weights.push_back(weight->toTensor().detach());
    if (weights.back().scalar_type() != at::kFloat || !weights.back().is_cpu()) return {};
  }
  const auto heads = constantInput(node, "num_head");
  if (!heads || !heads->isInt()) return {};
  return c10::make_intrusive<FusedAttention>(weights[0], weights[1], weights[2], weights[3], heads->toInt(),
                                             shared);
}

FusedAttention::FusedAttention(const at::Tensor& queryKeyValueWeight,
                               at::Tensor queryKeyValueBias,
                               const at::Tensor& projectionWeight,
                               at::Tensor projectionBias,
                               int64_t heads,
                               SharedWeights& weights)
    : queryKeyValue_(queryKeyValueWeight, std::move(queryKeyValueBias), {}, weights),
      projection_(projectionWeight, std::move(projectionBias), {}, weights),
      heads_(heads) {}

std::tuple<at::Tensor, at::Tensor> FusedAttention::run(const torch::jit::Stack& arguments) const {
  const at::Tensor tokens = arguments[kQuery].toTensor();  // [batch, tokens, features]
  const bool plain = arguments[kKey].toTensor().is_same(tokens) &&
                     arguments[kValue].toTensor().is_same(tokens) && arguments[kMask].isNone() &&
                     !arguments[kNeedWeights].toBool() && tokens.dim() == 3;
  if (!plain) {
    static const auto closed = *findTorchOperator("aten::_native_multi_head_attention");
    torch::jit::Stack stack = arguments;
    closed.callBoxed(stack);
    return {stack[0].toTensor(), stack[1].toTensor()};
  }
  const int64_t batch = tokens.size(0), length = tokens.size(1);
  const at::Tensor split = queryKeyValue_.run(tokens).view({batch, length, 3, heads_, -1});
  const auto part = [&](int64_t index) { return split.select(2, index).transpose(1, 2); };
  const at::Tensor attended = at::scaled_dot_product_attention(part(0), part(1), part(2));
  return {projection_.run(attended.transpose(1, 2).reshape({batch, length, -1})), at::Tensor()};
}

const c10::Symbol& fusedAttentionSymbol() {
  static const c10::Symbol symbol = registerOperator(
      "fused_attention(Any attention, Tensor query, Tensor key, Tensor value, int features, int heads, "
      "Tensor qkv_weight, Tensor qkv_bias, Tensor projection_weight, Tensor projection_bias, Tensor? mask, "
      "bool need_weights, bool average_weights, int? mask_type) -> (Tensor, Tensor)",
      runFusedAttention);
  return symbol;
}

}  // namespace gradcam
