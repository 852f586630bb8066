#include "core/fusion/graph_optimization.h"

#include "core/fusion/batch_norm_folding.h"
#include "core/fusion/batch_norm_fusion.h"
#include "core/fusion/bfloat16.h"
#include "core/fusion/fused_batch_norm.h"
#include "core/fusion/fused_convolution.h"
#include "core/fusion/graph_rewriting.h"
#include "core/fusion/in_place_addition.h"
#include "core/fusion/linear_fusion.h"
#include "core/fusion/plain_layout.h"
#include "core/fusion/recorded_convolution.h"
#include "core/fusion/squeeze_excitation.h"
#include "core/script/graph_walk.h"
#include "core/script/operator_arguments.h"

namespace gradcam {
namespace {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::toIValue;
using torch::jit::Value;

// The numbers of an argument such as stride, one for each axis of space, which may be given as one for all.
std::optional<std::vector<int64_t>> numbersOfAxes(const Node* node, const char* name, std::size_t axes) {
  const auto value = constantInput(node, name);
  if (!value || !value->isIntList()) return std::nullopt;
  std::vector<int64_t> numbers = value->toIntVector();
  if (numbers.size() == 1) numbers.resize(axes, numbers.front());
  if (numbers.size() != axes) return std::nullopt;
  return numbers;
}

bool canFuseWith(const at::Tensor& weight) {
  const at::ScalarType type = weight.scalar_type();
  if (weight.dim() < 3 || weight.dim() > 5) return false;
  if (weight.is_cpu()) return type == at::kFloat && FusedConvolution::available();
  if (weight.dim() != 4) return false;  // signals and volumes were not tried on a GPU
  const bool known = type == at::kFloat || type == at::kHalf || type == at::kBFloat16;
  return weight.is_cuda() && known && FusedConvolution::availableOnGpu();
}

// The padding of a convolution, which may be a word; none where 'same' pads one side more than the other, or
// is refused, as with strides.
std::optional<std::vector<int64_t>> paddingOf(const Node* node,
                                              const at::Tensor& kernel,
                                              const std::vector<int64_t>& stride,
                                              const std::vector<int64_t>& dilation) {
  const auto value = constantInput(node, "padding");
  const std::size_t axes = stride.size();
  if (!value || !value->isString()) return numbersOfAxes(node, "padding", axes);
  std::vector<int64_t> padding(axes, 0);
  if (value->toStringRef() == "valid") return padding;
  if (value->toStringRef() != "same" || stride != std::vector<int64_t>(axes, 1)) return std::nullopt;
  for (std::size_t axis = 0; axis < axes; ++axis) {
    const int64_t both = dilation[axis] * (kernel.size(static_cast<int64_t>(axis) + 2) - 1);
    if (both % 2 != 0) return std::nullopt;
    padding[axis] = both / 2;
  }
  return padding;
}

// The parameters of a convolution of signals, images or volumes with constant weights; none for every other
// node.
std::optional<FusedConvolution::Parameters> convolutionParameters(const Node* node) {
  const bool written = node->kind() == c10::aten::conv1d || node->kind() == c10::aten::conv2d ||
                       node->kind() == c10::aten::conv3d || node->kind() == c10::aten::_convolution_mode;
  if (!written && node->kind() != c10::aten::_convolution) return std::nullopt;
  if (!written && constantInput(node, "transposed") != c10::IValue(false)) return std::nullopt;

  const auto weight = constantInput(node, "weight");
  const auto bias = constantInput(node, "bias");
  const auto groups = constantInput(node, "groups");
  if (!weight || !weight->isTensor() || !bias || !groups || !canFuseWith(weight->toTensor()))
    return std::nullopt;
  const at::Tensor& kernel = weight->toTensor();
  const auto axes = static_cast<std::size_t>(kernel.dim()) - 2;
  const auto stride = numbersOfAxes(node, "stride", axes);
  const auto dilation = numbersOfAxes(node, "dilation", axes);
  if (!stride || !dilation) return std::nullopt;
  const auto padding = paddingOf(node, kernel, *stride, *dilation);
  if (!padding) return std::nullopt;
  return FusedConvolution::Parameters{
      kernel.detach(), bias->toOptional<at::Tensor>(), *stride, *padding, *dilation, groups->toInt()};
}

// What a BatchNorm of `input` amounts to.
std::optional<FoldedBatchNorm> batchNormOf(const Node* node, const Value* input) {
  const auto norm = FusedBatchNorm::of(node);
  if (!norm || node->input(0) != input) return std::nullopt;
  return FoldedBatchNorm::of(norm->mean, norm->variance, norm->weight, norm->bias, norm->epsilon);
}

struct ConvolutionFusion {
  std::vector<Node*> replaced;  // the convolution and what follows it
  std::optional<FoldedBatchNorm> batchNorm;
  Value* added = nullptr;
  FusedActivation activation;
  bool inRows = false;  // the result must not stay channels-last
};

// Where autograd records it, only ReLU's derivative is told by its result.
ConvolutionFusion findConvolutionFusion(Node* convolution, const GraphRewriter& rewriter, bool recorded) {
  ConvolutionFusion fusion;
  fusion.replaced.push_back(convolution);
  // The primitive runs where the last replaced operation was: nothing may have changed the input until then.
  if (rewriter.isRewritten(convolution->input(0))) return fusion;
  const auto next = [&] { return onlyUser(fusion.replaced.back()->output()); };
  if (Node* user = next(); user && user->kind() == plainLayoutSymbol()) {
    fusion.inRows = true;
    fusion.replaced.push_back(user);
  }
  if (Node* user = next()) {
    fusion.batchNorm = batchNormOf(user, fusion.replaced.back()->output());
    if (fusion.batchNorm) fusion.replaced.push_back(user);
  }
  if (Node* user = next()) {
    Value* other = otherTerm(user, fusion.replaced.back()->output());
    if (other != nullptr && rewriter.isRewritten(other)) return fusion;  // it is to be read now, not later
    if (other != nullptr) {
      fusion.added = other;
      fusion.replaced.push_back(user);
    }
  }
  if (Node* user = next()) {
    if (const auto activation = FusedActivation::of(user);
        activation && (!recorded || activation->name == "relu")) {
      fusion.activation = *activation;
      fusion.replaced.push_back(user);
    }
  }
  return fusion;
}

void fuseConvolution(Node* node, GraphRewriter& rewriter, bool recorded, at::ScalarType type) {
  const ConvolutionFusion fusion = findConvolutionFusion(node, rewriter, recorded);
  const auto& [replaced, batchNorm, added, activation, inRows] = fusion;
  const auto parameters = *convolutionParameters(node);
  const int notCounted = 1 + (batchNorm ? 1 : 0) + (inRows ? 1 : 0);
  rewriter.facts().fusedOperations += static_cast<int>(replaced.size()) - notCounted;
  ++rewriter.facts().fusedConvolutions;
  SharedWeights& weights = rewriter.weights();
  if (recorded) {
    rewriter.replace(
        replaced, recordedConvolutionSymbol(),
        c10::make_intrusive<RecordedConvolution>(parameters, batchNorm, activation, inRows, weights),
        {node->input(0), added});
  } else {
    rewriter.replace(replaced, fusedConvolutionSymbol(),
                     c10::make_intrusive<FusedConvolution>(
                         parameters, batchNorm, activation, inRows, weights,
                         parameters.weight.is_cpu() ? type : parameters.weight.scalar_type()),
                     {node->input(0), added});
  }
}

}  // namespace

bool isFusableConvolution(const Node* node) {
  return convolutionParameters(node).has_value();
}

namespace {

std::vector<c10::IValue> fuseOperations(std::shared_ptr<Graph>& graph,
                                        bool mayFuseConvolutions,
                                        SharedWeights& weights,
                                        PlanDescription& facts,
                                        bool recorded) {
  const bool reduced = !recorded && weights.typeWithoutGradients() == at::kBFloat16 &&
                       prepareForBFloat16(graph, mayFuseConvolutions);
  const at::ScalarType type = reduced ? at::kBFloat16 : at::kFloat;
  facts.reducedPrecision = facts.reducedPrecision || reduced;
  std::vector<Node*> convolutions, linears;
  forEachNode(graph->block(), [&](Node* node) {
    const auto convolution = mayFuseConvolutions ? convolutionParameters(node) : std::nullopt;
    if (convolution && (!recorded || RecordedConvolution::isWorthIt(*convolution)))
      convolutions.push_back(node);
    if (isFusableLinear(node)) linears.push_back(node);
  });
  GraphRewriter rewriter(graph, weights, facts);
  for (Node* node : convolutions) fuseConvolution(node, rewriter, recorded, type);
  for (Node* node : linears) recorded ? recordLinear(node, rewriter) : fuseLinear(node, rewriter, type);
  if (!recorded) fuseBatchNorms(*graph, rewriter);
  torch::jit::EliminateDeadCode(graph);
  foldBatchNorms(graph);  // those that oneDNN cannot take
  return rewriter.takeCapsules();
}

}  // namespace

std::vector<c10::IValue> optimizePrefix(std::shared_ptr<Graph>& graph,
                                        bool mayFuseConvolutions,
                                        SharedWeights& weights,
                                        PlanDescription& facts) {
  auto capsules = fuseOperations(graph, mayFuseConvolutions, weights, facts, /*recorded=*/false);
  fuseSqueezeExcitations(*graph, capsules, weights);
  addInPlace(*graph);
  return capsules;
}

std::vector<c10::IValue> optimizeTail(std::shared_ptr<Graph>& graph,
                                      bool mayFuseConvolutions,
                                      SharedWeights& weights,
                                      PlanDescription& facts) {
  const bool onCpu = !anyNode(graph->block(), [](const Node* node) {
    const auto constant = node->kind() == c10::prim::Constant ? toIValue(node->output()) : std::nullopt;
    return constant && constant->isTensor() && constant->toTensor().defined() &&
           !constant->toTensor().is_cpu();
  });
  return fuseOperations(graph, mayFuseConvolutions && onCpu && RecordedConvolution::available(), weights,
                        facts,
                        /*recorded=*/true);
}

}  // namespace gradcam
