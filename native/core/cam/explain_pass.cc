#include "core/cam/explain_pass.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "api/failure.h"
#include "core/cam/class_activation_map.h"
#include "core/cam/feature_pyramid.h"
#include "core/cam/heatmap.h"
#include "core/cam/perturbed_runs.h"
#include "core/cam/smooth_grad_cam.h"
#include "core/process/stopwatch.h"
#include "core/values/image_axes.h"
#include "core/values/output_tree.h"
#include "core/values/reshape_transform.h"
#include "core/values/tensor_state.h"
#include "core/values/tensor_types.h"

namespace gradcam {
namespace {

// Detections are a list; everything else is explained by one tensor, and the message names the choices.
void checkExplained(const c10::IValue& output, const ExplainRequest& request) {
  for (const auto& ofImage : request.targets) {
    for (const Target& target : ofImage) {
      if (target.kind == Target::Kind::Boxes || target.kind == Target::Kind::Scripted) continue;
      selectOutput(output, request.output);
      return;
    }
  }
}

// Methods that need more than one forward and one walk back.
bool isPerturbed(const MethodRequest& method) {
  return method.name == "ScoreCAM" || method.name == "AblationCAM" ||
         method.name == "SmoothGradCAMPlusPlus" || method.name == "CAM";
}

const CamMethod& methodNamed(const MethodRequest& method) {
  const CamMethod* found = findCamMethod(method.name);
  if (found == nullptr) throw Failure("ERR_INTERNAL", "There is no method named '" + method.name + "'.");
  return *found;
}

bool anyNeeds(const ExplainRequest& request, CamMethod::Needs needs) {
  return std::any_of(request.methods.begin(), request.methods.end(), [&](const MethodRequest& method) {
    return !isPerturbed(method) && methodNamed(method).needs == needs;
  });
}

// Methods that look at activations only: they explain a model whatever it gives.
bool needsNoTarget(const ExplainRequest& request, const c10::IValue& output, int64_t images) {
  const bool activationsOnly =
      std::all_of(request.methods.begin(), request.methods.end(), [](const MethodRequest& method) {
        return !isPerturbed(method) && methodNamed(method).needs == CamMethod::Needs::Activations;
      });
  const bool noneGiven = request.targets.size() == 1 && request.targets[0].size() == 1 &&
                         request.targets[0][0].kind == Target::Kind::Rank &&
                         request.targets[0][0].category == 0;
  return activationsOnly && noneGiven && !givesClasses(output, images);
}

}  // namespace

bool needsSecondDerivatives(const ExplainRequest& request) {
  return anyNeeds(request, CamMethod::Needs::SecondDerivatives);
}

ExplainPass::ExplainPass(ModelState& state,
                         const Plan& plan,
                         const ExplainRequest& request,
                         ModelInputs inputs,
                         const ExplainedOutput& output,
                         const std::vector<ResolvedTarget>* targets,
                         const Cancellation& cancellation)
    : state_(state),
      plan_(plan),
      request_(request),
      inputs_(std::move(inputs)),
      explainedOutput_(output),
      cancellation_(cancellation),
      captured_(plan, inputs_),
      reshape_(reshapeFor(plan, captured_, request.reshape, inputs_.images())),
      layers_(camLayers(captured_, reshape_)) {
  checkActivations(layers_, inputs_.images(), request.upsample != Upsampling::None);
  const int64_t images = inputs_.count();
  explained_ = selectValue(captured_.output(), request.output);
  if (needsNoTarget(request, explained_, images)) {
    for (int64_t image = 0; image < images; ++image) targets_.push_back({image, 0, -1, {}});
    targetWalks_.emplace(targets_);
    scores_.assign(targets_.size(), std::numeric_limits<double>::quiet_NaN());
    return;
  }
  checkExplained(captured_.output(), request);
  explained_ = output.of(captured_.output());
  targets_ = targetsOf(explained_, request.targets, images, targets);
  targetWalks_.emplace(targets_);
  scoreTensor_ = scoresOf(explained_, targets_);
  // Reading waits for a GPU, which meanwhile could be given the walk back; not where it is given much more.
  const bool runsManyTimes = std::any_of(request.methods.begin(), request.methods.end(), isPerturbed);
  if (inputs_.images().is_cpu() || runsManyTimes) readScores();
}

void ExplainPass::readScores() {
  if (!scores_.empty() || !scoreTensor_.defined()) return;
  scores_ = scoreValues(scoreTensor_);
  if (std::any_of(scores_.begin(), scores_.end(), [](double score) { return !std::isfinite(score); }))
    checkFinite(scoreTensor_, scoreTensor_);
}

int64_t ExplainPass::perturbedRows() const {
  int64_t rows = 0;
  for (const MethodRequest& method : request_.methods) {
    if (!isPerturbed(method) || method.name == "CAM") continue;
    if (method.name == "SmoothGradCAMPlusPlus") {
      const int64_t samples = method.noise ? method.noise->shape().at(0) : method.samples;
      rows += samples * inputs_.count();
      continue;
    }
    for (const Layer& layer : layers_) {
      const auto channels = static_cast<double>(layer.activation.size(1));
      const double share = method.name == "AblationCAM" ? std::min(method.ratioToAblate, 1.0) : 1.0;
      rows += inputs_.count() * std::max<int64_t>(1, static_cast<int64_t>(channels * share));
    }
  }
  return rows;
}

std::vector<ExplainPass::Walk> ExplainPass::walkBack(bool second) {
  std::vector<Walk> walks;
  for (std::size_t index = 0; index < targetWalks_->count(); ++index) {
    cancellation_.throwIfCancelled();
    Walk walk =
        captured_.gradients(targetWalks_->loss(scoreTensor_, index), targetWalks_->isLast(index), second);
    for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
      for (auto* ofMaps : {&walk.gradients[layer], &walk.hessianTimesActivations[layer]}) {
        for (at::Tensor& each : *ofMaps)
          each = inFullPrecision(applyReshape(each, reshape_, layers_[layer].path));
      }
    }
    walks.push_back(std::move(walk));
  }
  return walks;
}

std::vector<at::Tensor> ExplainPass::mapsOfMethod(const MethodRequest& request,
                                                  const std::vector<Walk>& walks) {
  const CamMethod& method = methodNamed(request);
  std::vector<at::Tensor> perLayer;
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    if (method.needs == CamMethod::Needs::Activations) {
      perLayer.push_back(targetWalks_->ofTargets(mapOfWalk(method, request, layer, nullptr)));
      continue;
    }
    std::vector<at::Tensor> ofWalks;
    for (const Walk& walk : walks) ofWalks.push_back(mapOfWalk(method, request, layer, &walk));
    perLayer.push_back(targetWalks_->ofTargets(ofWalks));
  }
  return perLayer;
}

at::Tensor ExplainPass::mapOfWalk(const CamMethod& method,
                                  const MethodRequest& request,
                                  std::size_t layer,
                                  const Walk* walk) const {
  const MethodSettings settings{request.femDeviations, request.seed};
  const bool second = method.needs == CamMethod::Needs::SecondDerivatives;
  if (walk == nullptr)
    return rawMap(method, {layers_[layer].activation, {}, {}}, settings, request.eigenSmooth);
  std::vector<MethodInput> maps;
  for (std::size_t map = 0; map < layers_[layer].maps.size(); ++map) {
    maps.push_back({layers_[layer].maps[map], walk->gradients[layer][map],
                    second ? walk->hessianTimesActivations[layer][map] : at::Tensor()});
  }
  return pyramidMap(method, maps, settings, request.eigenSmooth);
}

std::vector<at::Tensor> ExplainPass::perturbedMaps(const MethodRequest& method,
                                                   const std::function<void(int64_t rows)>& advance) {
  const PerturbedRuns runs{
      state_,   request_.modelMethod, plan_,         inputs_, explainedOutput_, explained_,
      reshape_, method.batchSize,     cancellation_, advance};
  if (method.name == "SmoothGradCAMPlusPlus") {
    SmoothGradSettings settings{method.samples, method.deviation, method.seed, std::nullopt};
    if (method.noise) settings.noise = method.noise->state().tensor;
    std::vector<at::Tensor> activations;
    for (const auto& layer : captured_.layers()) {
      if (!layer.isPyramid()) continue;
      throw Failure("ERR_UNSUPPORTED",
                    "SmoothGradCAMPlusPlus cannot explain at a feature pyramid. Choose another "
                    "method, or a layer inside of '" +
                        layer.path + "'.")
          .withLayer(layer.path);
    }
    for (const Layer& layer : layers_) activations.push_back(layer.activation);
    return smoothGradCamPlusPlus(runs, activations, targets_, settings);
  }
  if (method.name == "CAM") {
    std::vector<at::Tensor> perLayer;
    for (const Layer& layer : layers_)
      perLayer.push_back(classActivationMap(state_.module, method.linear,
                                            {layer.path, layer.activation, explained_}, targets_));
    return perLayer;
  }
  std::vector<at::Tensor> perLayer;
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    const at::Tensor& activation = layers_[layer].activation;
    at::Tensor weights;
    if (method.name == "ScoreCAM") {
      weights = scoreCamWeights(runs, activation, targets_);
    } else {
      weights =
          ablationCamWeights(runs, captured_.layers()[layer], activation, targets_, method.ratioToAblate);
    }
    const at::Tensor ofTargets = targetWalks_->ofTargets(activation);
    const at::Tensor weighted = asFactorsOf(ofTargets, weights.to(activation.scalar_type())) * ofTargets;
    perLayer.push_back(sumChannels(weighted, method.eigenSmooth));
  }
  return perLayer;
}

std::vector<int64_t> ExplainPass::mapSize() const {
  if (request_.upsample != Upsampling::None)
    return spatialSizesFor(layers_.at(0).activation.sizes().slice(2), inputs_.images().sizes());
  std::vector<at::Tensor> maps;
  for (const Layer& layer : layers_) maps.insert(maps.end(), layer.maps.begin(), layer.maps.end());
  return finestSize(maps).vec();
}

std::vector<at::Tensor> ExplainPass::heatmaps(const std::function<void(int64_t rows)>& advance,
                                              StageTimings& timings) {
  Stopwatch stopwatch;
  const bool second = anyNeeds(request_, CamMethod::Needs::SecondDerivatives);
  std::vector<Walk> walks;
  if (second || anyNeeds(request_, CamMethod::Needs::Gradients)) walks = walkBack(second);
  timings.backward += stopwatch.lap();

  std::vector<at::Tensor> results, rawMaps;
  for (const MethodRequest& method : request_.methods) {
    cancellation_.throwIfCancelled();
    const auto raw = isPerturbed(method) ? perturbedMaps(method, advance) : mapsOfMethod(method, walks);
    rawMaps.insert(rawMaps.end(), raw.begin(), raw.end());
    const LayerFusion fusion = method.multiplyLayers ? LayerFusion::Product : LayerFusion::Mean;
    results.push_back(fuseLayers(raw, mapSize(), fusion, request_.upsample));
  }
  readScores();
  for (const at::Tensor& maps : rawMaps)
    checkFinite(maps, explained_);  // scaling has hidden it in the results
  timings.cam += stopwatch.lap();
  return results;
}

}  // namespace gradcam
