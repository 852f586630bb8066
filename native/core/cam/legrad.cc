#include <set>

#include "api/failure.h"
#include "core/cam/heatmap.h"
#include "core/cam/network_method.h"
#include "core/plan/derivatives.h"
#include "core/process/stopwatch.h"
#include "core/values/image_axes.h"
#include "core/values/output_tree.h"
#include "core/values/reshape_transform.h"

namespace gradcam {
namespace {

// [B, heads, queries, keys] or, as PyTorch's MultiheadAttention writes it out, [B * heads, queries, keys].
bool isOverTokens(const at::Tensor& attention, int64_t batch) {
  const bool heads = attention.dim() == 4 ? attention.size(0) == batch
                                          : attention.dim() == 3 && attention.size(0) % batch == 0;
  return heads && attention.size(-2) == attention.size(-1) && attention.size(-1) > 1;
}

// The gradient at an attention -> [B, ...space]: how much each image token is attended to in favour of the
// score.
at::Tensor attendedTokens(const at::Tensor& gradient, int64_t batch, const ReshapeTransform& reshape) {
  const int64_t tokenCount = gradient.size(-1);
  const at::Tensor heads = gradient.reshape({batch, -1, tokenCount, tokenCount});
  const at::Tensor tokens = heads.to(at::kFloat).relu().mean(1).mean(1);  // [B, keys]
  return applyReshape(tokens.unsqueeze(2), reshape, "attention").select(1, 0);
}

// Whether autograd's record leads from a tensor back to a leaf.
bool dependsOn(const at::Tensor& tensor, const at::Tensor& leaf) {
  std::vector<const torch::autograd::Node*> open = {tensor.grad_fn().get()};
  std::set<const torch::autograd::Node*> seen = {nullptr};
  const auto wanted = torch::autograd::impl::grad_accumulator(leaf);
  while (!open.empty()) {
    const torch::autograd::Node* node = open.back();
    open.pop_back();
    if (!seen.insert(node).second) continue;
    if (node == wanted.get()) return true;
    for (const auto& edge : node->next_edges()) open.push_back(edge.function.get());
  }
  return false;
}

// The attention over the image's tokens: what fits the grid, or, where none does, what does not.
std::vector<at::Tensor> attentionsOverImage(const NetworkForward& forward, const ReshapeTransform& reshape) {
  std::vector<at::Tensor> attentions, ofNoGrid;
  for (const auto& layer : forward.captured.layers()) {
    const at::Tensor& attention = layer.maps.at(0);
    if (!isOverTokens(attention, forward.images.size(0))) continue;
    if (forward.images.requires_grad() && !dependsOn(attention, forward.images)) continue;
    (fitsGrid(attention.size(-1), reshape) ? attentions : ofNoGrid).push_back(attention);
  }
  if (attentions.empty()) attentions = ofNoGrid;  // what does not fit, the reshape says
  if (!attentions.empty()) return attentions;
  throw Failure("ERR_UNSUPPORTED",
                "LeGrad needs attention over the image's tokens, [images, heads, tokens, tokens], and this "
                "model's graph holds none: it has no such attention, or one in a form that cannot be written "
                "out. Use GradCAM with a reshapeTransform instead.");
}

}  // namespace

NetworkMaps leGrad(const NetworkBatch& batch) {
  Stopwatch stopwatch;
  const ExplainRequest& request = batch.request;
  const auto plan = batch.state.attentionPlan(request.modelMethod);
  batch.timings.plan += stopwatch.lap();
  const ModelInputs& inputs = batch.inputs;
  const at::IntArrayRef shape = inputs.images().sizes();
  if (shape.size() < 3) throw Failure("ERR_INPUT_SHAPE", "LeGrad needs a batch of images, [B, C, H, W].");
  // Where there are further inputs, some attention may be over them: only that over the image counts.
  const bool several = (inputs.tensors.size() > 1 || inputs.haveTensorArguments()) &&
                       at::isFloatingType(inputs.images().scalar_type());
  const NetworkForward forward(batch, *plan, /*recordFromImages=*/several);
  ReshapeTransform reshape = request.reshape;
  reshape.kind = ReshapeTransform::Kind::Tokens;
  reshape.batchFirst = true;  // attention is
  const auto attentions = attentionsOverImage(forward, reshape);
  batch.timings.forward += stopwatch.lap();

  std::vector<at::Tensor> maps;  // of each walk
  for (std::size_t walk = 0; walk < forward.walks.count(); ++walk) {
    batch.cancellation.throwIfCancelled();
    const auto gradients = derivatives(forward.walks.loss(forward.scores, walk), attentions,
                                       /*retainGraph=*/!forward.walks.isLast(walk));
    std::vector<at::Tensor> layers;
    for (const at::Tensor& gradient : gradients) {
      if (gradient.defined()) layers.push_back(attendedTokens(gradient, inputs.count(), reshape));
    }
    if (layers.empty()) {
      throw Failure("ERR_LAYER_DISCONNECTED",
                    "The target score does not depend on any attention of the model.");
    }
    maps.push_back(at::stack(layers).mean(0));
  }
  batch.timings.backward += stopwatch.lap();

  const at::Tensor raw = forward.walks.ofTargets(maps);
  const bool resized = request.upsample != Upsampling::None;
  const auto size = resized ? spatialSizes(shape) : raw.sizes().slice(1).vec();
  const at::Tensor heatmaps = fuseLayers({raw}, size, LayerFusion::Mean, request.upsample).to(at::kCPU);
  batch.timings.cam += stopwatch.lap();
  return forward.maps(heatmaps);
}

}  // namespace gradcam
