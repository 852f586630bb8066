#include "core/cam/legrad.h"

#include "core/activations_and_gradients.h"
#include "core/cam/heatmap.h"
#include "core/failure.h"
#include "core/output_value.h"
#include "core/stopwatch.h"

namespace gradcam {
namespace {

bool isOverTokens(const at::Tensor& attention, int64_t batch) {
  return attention.dim() == 4 && attention.size(0) == batch && attention.size(2) == attention.size(3) &&
         attention.size(2) > 1;
}

// [B, heads, queries, keys] -> [B, ...space]: how much each image token is attended to in favour of the
// score.
at::Tensor attendedTokens(const at::Tensor& gradient, const ReshapeTransform& reshape) {
  const at::Tensor tokens = gradient.to(at::kFloat).relu().mean(1).mean(1);  // [B, keys]
  return applyReshape(tokens.unsqueeze(2), reshape, "attention").select(1, 0);
}

}  // namespace

NetworkMaps leGrad(ModelState& state,
                   const ExplainRequest& request,
                   std::vector<at::Tensor> inputs,
                   const Cancellation& cancellation,
                   StageTimings& timings) {
  Stopwatch stopwatch;
  const auto plan = state.attentionPlan();
  timings.plan += stopwatch.lap();
  const at::Tensor& input = inputs.at(0);
  if (input.dim() < 3) throw Failure("ERR_INPUT_SHAPE", "LeGrad needs a batch of images, [B, C, H, W].");
  const ActivationsAndGradients captured(*plan, inputs);
  const c10::IValue explained = selectValue(captured.output(), request.output);
  const auto targets = resolveTargets(explained, request.targets, input.size(0));
  at::Tensor scores;
  {
    const at::AutoGradMode record(true);
    scores = scoresOf(explained, targets);
  }
  std::vector<at::Tensor> attentions;
  for (const auto& layer : captured.layers()) {
    if (isOverTokens(layer.activation, input.size(0))) attentions.push_back(layer.activation);
  }
  if (attentions.empty()) {
    throw Failure("ERR_UNSUPPORTED",
                  "LeGrad needs attention over the image's tokens, [images, heads, tokens, tokens], and this "
                  "model's graph "
                  "holds none: it has no such attention, or one in a form that cannot be written out. Use "
                  "GradCAM with a "
                  "reshapeTransform instead.");
  }
  timings.forward += stopwatch.lap();

  ReshapeTransform reshape = request.reshape;
  if (reshape.kind != ReshapeTransform::Kind::Tokens) reshape.kind = ReshapeTransform::Kind::Tokens;
  std::vector<at::Tensor> maps;
  for (std::size_t index = 0; index < targets.size(); ++index) {
    cancellation.throwIfCancelled();
    at::Tensor score;
    {
      const at::AutoGradMode record(true);
      score = scores[static_cast<int64_t>(index)];
    }
    const auto gradients = torch::autograd::grad({score}, attentions, {}, /*retain_graph=*/true, false,
                                                 /*allow_unused=*/true);
    std::vector<at::Tensor> layers;
    for (const at::Tensor& gradient : gradients) {
      if (gradient.defined()) layers.push_back(attendedTokens(gradient, reshape)[targets[index].imageIndex]);
    }
    if (layers.empty()) {
      throw Failure("ERR_LAYER_DISCONNECTED",
                    "The target score does not depend on any attention of the model.");
    }
    maps.push_back(at::stack(layers).mean(0));
  }
  timings.backward += stopwatch.lap();

  const at::Tensor raw = at::stack(maps);
  const auto size = request.upsample ? input.sizes().slice(2).vec() : raw.sizes().slice(1).vec();
  const at::Tensor heatmaps = fuseLayers({raw}, size, LayerFusion::Mean).to(at::kCPU);
  timings.cam += stopwatch.lap();
  return {heatmaps, captured.output(), targets, scoreValues(scores)};
}

}  // namespace gradcam
