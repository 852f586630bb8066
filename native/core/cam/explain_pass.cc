#include "core/cam/explain_pass.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "api/failure.h"
#include "core/cam/feature_pyramid.h"
#include "core/cam/heatmap.h"
#include "core/process/stopwatch.h"
#include "core/values/image_axes.h"
#include "core/values/output_tree.h"
#include "core/values/reshape_transform.h"
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

bool needsGradients(const MethodRequest& request) {
  if (const auto* formula = methodAs<LayerFormula>(request))
    return formula->needs != LayerFormula::Needs::Activations;
  const auto* ofModel = methodAs<ModelMethod>(request);
  return ofModel == nullptr || ofModel->needsGradients;
}

bool anyNeeds(const ExplainRequest& request, LayerFormula::Needs needs) {
  return std::any_of(request.methods.begin(), request.methods.end(), [&](const MethodRequest& method) {
    const auto* formula = methodAs<LayerFormula>(method);
    return formula != nullptr && formula->needs == needs;
  });
}

// Methods that look at activations only: they explain a model whatever it gives.
bool needsNoTarget(const ExplainRequest& request, const c10::IValue& output, int64_t images) {
  const bool activationsOnly =
      std::all_of(request.methods.begin(), request.methods.end(), [](const MethodRequest& method) {
        const auto* formula = methodAs<LayerFormula>(method);
        return formula != nullptr && formula->needs == LayerFormula::Needs::Activations;
      });
  const bool noneGiven = request.targets.size() == 1 && request.targets[0].size() == 1 &&
                         request.targets[0][0].kind == Target::Kind::Rank &&
                         request.targets[0][0].category == 0;
  return activationsOnly && noneGiven && !givesClasses(output, images);
}

}  // namespace

PlanOptions planOptionsFor(const ExplainRequest& request) {
  return {.optimize = request.optimize,
          .gradients = std::any_of(request.methods.begin(), request.methods.end(), needsGradients),
          .secondDerivatives = anyNeeds(request, LayerFormula::Needs::SecondDerivatives)};
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
  const bool runsManyTimes =
      std::any_of(request.methods.begin(), request.methods.end(),
                  [](const MethodRequest& method) { return methodAs<ModelMethod>(method) != nullptr; });
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
  for (const MethodRequest& request : request_.methods) {
    const auto* method = methodAs<ModelMethod>(request);
    if (method != nullptr && method->rows != nullptr) rows += method->rows(layers_, inputs_.count(), request);
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

std::vector<at::Tensor> ExplainPass::mapsOfFormula(const LayerFormula& formula,
                                                   const MethodRequest& request,
                                                   const std::vector<Walk>& walks) const {
  std::vector<at::Tensor> perLayer;
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    if (formula.needs == LayerFormula::Needs::Activations) {
      const FormulaInput input{layers_[layer].activation, {}, {}};
      perLayer.push_back(targetWalks_->ofTargets(rawMap(formula, input, request)));
      continue;
    }
    std::vector<at::Tensor> ofWalks;
    for (const Walk& walk : walks) {
      std::vector<FormulaInput> maps;
      for (std::size_t map = 0; map < layers_[layer].maps.size(); ++map) {
        maps.push_back({layers_[layer].maps[map], walk.gradients[layer][map], {}});
        if (formula.needs == LayerFormula::Needs::SecondDerivatives)
          maps.back().hessianTimesActivations = walk.hessianTimesActivations[layer][map];
      }
      ofWalks.push_back(pyramidMap(formula, maps, request));
    }
    perLayer.push_back(targetWalks_->ofTargets(ofWalks));
  }
  return perLayer;
}

std::vector<at::Tensor> ExplainPass::mapsOfModel(const ModelMethod& method,
                                                 const MethodRequest& request,
                                                 const std::function<void(int64_t rows)>& advance) const {
  // Where other methods of the request need gradients, this one still runs the model as fast as it goes.
  std::shared_ptr<const Plan> faster;
  if (plan_.recordsGradients() && !method.needsGradients)
    faster = state_.plan(request_.modelMethod, request_.layers,
                         {.optimize = request_.optimize, .gradients = false});
  return method.maps(
      {state_, request_.modelMethod, faster ? *faster : plan_, inputs_, explainedOutput_, explained_,
       reshape_, captured_, layers_, targets_, *targetWalks_, cancellation_, advance},
      request);
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
  const bool second = anyNeeds(request_, LayerFormula::Needs::SecondDerivatives);
  std::vector<Walk> walks;
  if (second || anyNeeds(request_, LayerFormula::Needs::Gradients)) walks = walkBack(second);
  timings.backward += stopwatch.lap();

  std::vector<at::Tensor> results, rawMaps;
  for (const MethodRequest& method : request_.methods) {
    cancellation_.throwIfCancelled();
    const auto* formula = methodAs<LayerFormula>(method);
    const auto raw = formula != nullptr ? mapsOfFormula(*formula, method, walks)
                                        : mapsOfModel(*methodAs<ModelMethod>(method), method, advance);
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
