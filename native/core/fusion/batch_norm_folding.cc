#include "core/fusion/batch_norm_folding.h"

#include "core/script/graph_walk.h"

namespace gradcam {

void foldBatchNorms(std::shared_ptr<torch::jit::Graph>& graph) {
  const bool halfPrecision = anyNode(graph->block(), [](const torch::jit::Node* node) {
    const auto value =
        node->kind() == c10::prim::Constant ? torch::jit::toIValue(node->output()) : std::nullopt;
    return value && value->isTensor() && value->toTensor().defined() &&
           at::isReducedFloatingType(value->toTensor().scalar_type());
  });
  if (!halfPrecision) torch::jit::FoldFrozenConvBatchnorm(graph);
}

}  // namespace gradcam
