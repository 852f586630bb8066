#include "core/explain.h"

#include <algorithm>
#include <chrono>
#include <sstream>

#include "core/activations_and_gradients.h"
#include "core/cam/grad_cam.h"
#include "core/cam/heatmap.h"
#include "core/device_stream.h"
#include "core/model_state.h"
#include "core/output_value.h"
#include "core/target_scores.h"
#include "core/tensor_state.h"

namespace gradcam {
namespace {

class Stopwatch {
 public:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const std::chrono::duration<double, std::milli> elapsed = now - start_;
    start_ = now;
    return elapsed.count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

std::vector<HookedLayer> hookedLayers(const std::vector<TargetLayer>& layers) {
  std::vector<HookedLayer> hooked;
  for (const TargetLayer& layer : layers) {
    CallChoice choice;
    if (layer.call == CallKind::All) choice.kind = CallChoice::Kind::All;
    if (layer.call == CallKind::Index) choice = {CallChoice::Kind::Index, layer.callIndex};
    hooked.push_back({layer.path, choice});
  }
  return hooked;
}

// Captured tensors are computed in float32 (float64 stays): half precision is for the model, not for the map.
at::Tensor inFullPrecision(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kDouble ? tensor : tensor.to(at::kFloat);
}

// What a method computes with: one call of a target layer.
struct CamLayer {
  std::string path;
  int callIndex;
  at::Tensor activation;  // [B, C, ...space]
};

std::vector<CamLayer> camLayers(const ActivationsAndGradients& captured, const ReshapeTransform& reshape) {
  std::vector<CamLayer> layers;
  for (const auto& [path, callIndex, activation] : captured.layers()) {
    layers.push_back({path, callIndex, inFullPrecision(applyReshape(activation.detach(), reshape, path))});
  }
  return layers;
}

// A class activation map needs one value per channel and place, for as many spatial axes as the input has.
void checkActivations(const std::vector<CamLayer>& layers, const at::Tensor& input) {
  for (const auto& layer : layers) {
    const at::Tensor& activation = layer.activation;
    if (activation.dim() == input.dim() && activation.size(0) == input.size(0)) continue;
    std::ostringstream message;
    message << "Layer '" << layer.path << "' gives " << activation.sizes()
            << ", but a map over an input of shape " << input.sizes() << " needs [" << input.size(0)
            << ", channels, " << input.dim() - 2
            << " spatial axes]. Choose a layer before pooling or flattening, or give a reshapeTransform for "
               "tokens or channels last.";
    throw Failure("ERR_LAYER_OUTPUT", message.str()).withLayer(layer.path);
  }
}

// The targets of one walk back: at most one of each image, so that gradients do not mix.
std::vector<std::vector<ResolvedTarget>> groupIntoWalks(const std::vector<ResolvedTarget>& targets) {
  std::vector<std::vector<ResolvedTarget>> walks;
  for (const ResolvedTarget& target : targets) {
    const auto walk = static_cast<std::size_t>(target.targetIndex);
    if (walk >= walks.size()) walks.resize(walk + 1);
    walks[walk].push_back(target);
  }
  return walks;
}

std::vector<int64_t> mapSize(const at::Tensor& input, const std::vector<CamLayer>& layers, bool upsample) {
  if (upsample) return input.sizes().slice(2).vec();
  const auto places = [](const auto& layer) { return layer.activation.numel() / layer.activation.size(1); };
  const auto largest = std::max_element(layers.begin(), layers.end(),
                                        [&](const auto& a, const auto& b) { return places(a) < places(b); });
  return largest->activation.sizes().slice(2).vec();
}

}  // namespace

PlanDescription describePlan(const Model& model, const std::vector<TargetLayer>& layers, bool optimize) {
  return model.state().plan(hookedLayers(layers), optimize)->describe();
}

Explanation explain(const Model& model, const ExplainRequest& request, const Cancellation& cancellation) {
  ModelState& state = model.state();
  StageTimings timings;
  Stopwatch stopwatch;
  const at::AutoGradMode gradientsOnlyBehindHooks(false);
  const DeviceStream stream(state.device);

  cancellation.throwIfCancelled();
  const auto plan = state.plan(hookedLayers(request.layers), request.optimize);
  timings.plan = stopwatch.lap();

  const std::vector<at::Tensor> inputs = state.prepareBatches(request.inputs);
  const at::Tensor& input = inputs.at(0);
  if (input.dim() < 3 || input.dim() > 5) {
    std::ostringstream message;
    message
        << "The input has shape " << input.sizes()
        << ", but a batch of images [B, C, H, W], signals [B, C, L] or volumes [B, C, D, H, W] is needed.";
    throw Failure("ERR_INPUT_SHAPE", message.str());
  }
  const ActivationsAndGradients captured(*plan, inputs);
  const std::vector<CamLayer> layers = camLayers(captured, request.reshape);
  checkActivations(layers, input);
  const at::Tensor output = selectOutput(captured.output(), request.output);
  const auto targets = resolveTargets(output, request.targets, input.size(0));
  timings.forward = stopwatch.lap();

  // rawMaps[layer][walk] is [B, ...space]; rows of images without a target in that walk are not used.
  std::vector<std::vector<at::Tensor>> rawMaps(layers.size());
  const auto walks = groupIntoWalks(targets);
  for (std::size_t walk = 0; walk < walks.size(); ++walk) {
    cancellation.throwIfCancelled();
    at::Tensor loss;
    {
      const at::AutoGradMode record(true);
      loss = sumOfScores(output, walks[walk]);
    }
    const auto gradients = captured.gradients(loss, /*last=*/walk + 1 == walks.size());
    timings.backward += stopwatch.lap();
    for (std::size_t layer = 0; layer < gradients.size(); ++layer) {
      const at::Tensor gradient = applyReshape(gradients[layer], request.reshape, layers[layer].path);
      rawMaps[layer].push_back(gradCam(layers[layer].activation, inFullPrecision(gradient)));
    }
    timings.cam += stopwatch.lap();
  }

  cancellation.throwIfCancelled();
  std::vector<int64_t> rows;
  for (const ResolvedTarget& target : targets)
    rows.push_back(target.targetIndex * input.size(0) + target.imageIndex);
  const at::Tensor rowIndices = at::tensor(rows, at::TensorOptions().dtype(at::kLong)).to(input.device());
  std::vector<at::Tensor> mapsPerLayer;
  for (const auto& maps : rawMaps) mapsPerLayer.push_back(at::cat(maps).index_select(0, rowIndices));
  const at::Tensor heatmaps = fuseLayers(mapsPerLayer, mapSize(input, layers, request.upsample)).to(at::kCPU);
  const at::Tensor peaks = heatmaps.flatten(1).amax(1);

  std::vector<ExplainedMap> maps;
  for (std::size_t index = 0; index < targets.size(); ++index) {
    const ResolvedTarget& target = targets[index];
    maps.push_back({target.imageIndex, target.targetIndex, target.classIndex, target.score,
                    peaks[static_cast<int64_t>(index)].item<float>() > 0});
  }
  std::vector<ExplainedLayer> explainedLayers;
  for (const CamLayer& layer : layers)
    explainedLayers.push_back({layer.path, layer.callIndex, layer.activation.sizes().vec()});
  Explanation explanation{
      toHandle(heatmaps), toOutputTree(captured.output()), std::move(maps), std::move(explainedLayers), {}};
  timings.cam += stopwatch.lap();
  explanation.timings = timings;
  return explanation;
}

}  // namespace gradcam
