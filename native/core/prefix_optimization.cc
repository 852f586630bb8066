#include "core/prefix_optimization.h"

namespace gradcam {

void optimizePrefix(std::shared_ptr<torch::jit::Graph>& graph) {
  torch::jit::ConvertFrozenOpsToMKLDNN(graph);
}

}  // namespace gradcam
