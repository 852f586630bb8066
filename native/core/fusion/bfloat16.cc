#include "core/fusion/bfloat16.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>
#include <unordered_set>

#include "core/fusion/graph_optimization.h"
#include "core/fusion/linear_fusion.h"
#include "core/fusion/plain_layout.h"
#include "core/script/graph_walk.h"
#include "core/script/operator_arguments.h"
#include "core/script/own_operators.h"

namespace gradcam {
namespace {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

// Take bfloat16, alone or beside float32, and give either.
bool takesBFloat16(const Node* node) {
  static const std::unordered_set<std::string> kinds = {"aten::_adaptive_avg_pool2d",
                                                        "aten::adaptive_avg_pool1d",
                                                        "aten::adaptive_avg_pool2d",
                                                        "aten::adaptive_max_pool2d",
                                                        "aten::add",
                                                        "aten::avg_pool1d",
                                                        "aten::avg_pool2d",
                                                        "aten::batch_norm",
                                                        "aten::cat",
                                                        "aten::chunk",
                                                        "aten::clone",
                                                        "aten::constant_pad_nd",
                                                        "aten::contiguous",
                                                        "aten::dropout",
                                                        "aten::elu",
                                                        "aten::expand",
                                                        "aten::flatten",
                                                        "aten::gelu",
                                                        "aten::hardsigmoid",
                                                        "aten::hardswish",
                                                        "aten::hardtanh",
                                                        "aten::layer_norm",
                                                        "aten::leaky_relu",
                                                        "aten::max_pool1d",
                                                        "aten::max_pool2d",
                                                        "aten::max_pool3d",
                                                        "aten::mish",
                                                        "aten::mul",
                                                        "aten::narrow",
                                                        "aten::permute",
                                                        "aten::pixel_shuffle",
                                                        "aten::relu",
                                                        "aten::relu6",
                                                        "aten::reshape",
                                                        "aten::select",
                                                        "aten::sigmoid",
                                                        "aten::silu",
                                                        "aten::size",
                                                        "aten::slice",
                                                        "aten::split",
                                                        "aten::squeeze",
                                                        "aten::sub",
                                                        "aten::tanh",
                                                        "aten::transpose",
                                                        "aten::unsqueeze",
                                                        "aten::upsample_bilinear2d",
                                                        "aten::upsample_linear1d",
                                                        "aten::upsample_nearest1d",
                                                        "aten::upsample_nearest2d",
                                                        "aten::upsample_nearest3d",
                                                        "aten::upsample_trilinear3d",
                                                        "aten::view",
                                                        "prim::ListUnpack"};
  if (node->kind() == plainLayoutSymbol() || kinds.count(node->kind().toQualString()) > 0) return true;
  return node->kind() == c10::aten::mean && constantInput(node, "dtype") == c10::IValue();
}

// The list that `node` makes is only concatenated.
bool isConcatenated(const Node* node) {
  if (node->kind() != c10::prim::ListConstruct) return false;
  const auto& uses = node->output()->uses();
  return !uses.empty() && std::all_of(uses.begin(), uses.end(), [&](const torch::jit::Use& use) {
    return use.user->kind() == c10::aten::cat && use.user->owningBlock() == node->owningBlock();
  });
}

bool holdsTensors(const Value* value) {
  const auto list = value->type()->cast<c10::ListType>();
  return (list ? list->getElementType() : value->type())->cast<c10::TensorType>() != nullptr;
}

void runAsFloat32(torch::jit::Stack& stack) {
  const at::Tensor x = torch::jit::pop(stack).toTensor();
  torch::jit::push(stack, x.scalar_type() == at::kBFloat16 ? x.to(at::kFloat) : x);
}

const c10::Symbol& asFloat32Symbol() {
  static const c10::Symbol symbol = registerOperator("as_float32(Tensor x) -> Tensor", runAsFloat32);
  return symbol;
}

}  // namespace

bool hasBFloat16() {
#if defined(__x86_64__) && defined(__GNUC__)
  if (!__builtin_cpu_supports("avx512bf16")) return false;
#else
  return false;
#endif
  const char* limit = std::getenv("ONEDNN_MAX_CPU_ISA");
  if (limit == nullptr) limit = std::getenv("DNNL_MAX_CPU_ISA");
  if (limit == nullptr) return true;
  constexpr std::array<std::string_view, 6> enough = {"BF16", "FP16", "AMX", "AVX10", "ALL", "DEFAULT"};
  return std::any_of(enough.begin(), enough.end(), [&](std::string_view each) {
    return std::string_view(limit).find(each) != std::string_view::npos;
  });
}

bool prepareForBFloat16(const std::shared_ptr<Graph>& graph, bool mayFuseConvolutions) {
  std::unordered_set<const Value*> carriers;
  std::vector<std::pair<Node*, std::size_t>> wantFloat32;  // an operation and which of its inputs
  const torch::jit::AliasDb aliases(graph);
  bool fits = true, found = false;
  const auto want = [&](Node* node, std::size_t index) {
    fits = fits && node->input(index)->type()->cast<c10::TensorType>() != nullptr;  // and no list of them
    wantFloat32.emplace_back(node, index);
  };
  const auto visit = [&](Node* node) {
    const bool linear = isFusableLinear(node),
               convolution = mayFuseConvolutions && isFusableConvolution(node);
    found = found || linear || convolution;
    const bool takes = linear || convolution || takesBFloat16(node) || isConcatenated(node);
    bool carried = false;
    for (std::size_t index = 0; index < node->inputs().size(); ++index) {
      if (carriers.count(node->input(index)) == 0) continue;
      carried = true;
      if (!takes) want(node, index);
    }
    if (convolution || (carried && takes && !linear)) {
      for (const Value* output : node->outputs()) {
        if (!holdsTensors(output)) continue;
        fits = fits && !aliases.hasWriters(output);  // which would write to a copy
        carriers.insert(output);
      }
    }
    for (torch::jit::Block* inner : node->blocks()) {  // what a branch or a loop hands on
      Node* end = inner->return_node();
      for (std::size_t index = 0; index < end->inputs().size(); ++index) {
        if (carriers.count(end->input(index)) > 0) want(end, index);
      }
    }
  };
  forEachNode(graph->block(), visit);
  visit(graph->return_node());
  if (!fits || !found) return false;
  for (const auto& [node, index] : wantFloat32) {
    const torch::jit::WithInsertPoint here(node);
    Value* cast = graph->insertNode(graph->create(asFloat32Symbol(), {node->input(index)}, 1))->output();
    node->replaceInput(index, cast);
  }
  return true;
}

}  // namespace gradcam
