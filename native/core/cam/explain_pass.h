#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "api/explain.h"
#include "core/cam/cam_layers.h"
#include "core/cam/cam_method.h"
#include "core/model/model_state.h"
#include "core/plan/activations_and_gradients.h"
#include "core/targets/explained_output.h"
#include "core/targets/target_walks.h"

namespace gradcam {

// How the plan has to be made for all of the request's methods.
PlanOptions planOptionsFor(const ExplainRequest& request);

// One forward of a batch, and the heatmaps that all requested methods make of it.
class ExplainPass {
 public:
  using Layer = CamLayer;

  // Runs forward and resolves the targets, unless they are given (of the image as it is; null where this is
  // it). `explained` must outlive it.
  ExplainPass(ModelState& state,
              const Plan& plan,
              const ExplainRequest& request,
              ModelInputs inputs,
              const ExplainedOutput& output,
              const std::vector<ResolvedTarget>* targets,
              const Cancellation& cancellation);

  // One [N, ...size] for each method, float32, N as targets().
  std::vector<at::Tensor> heatmaps(const std::function<void(int64_t rows)>& advance, StageTimings& timings);

  const c10::IValue& output() const { return captured_.output(); }
  const std::vector<ResolvedTarget>& targets() const { return targets_; }
  // Known once heatmaps() were made.
  const std::vector<double>& scores() const { return scores_; }
  const std::vector<Layer>& layers() const { return layers_; }
  // Runs of the model, in rows, that heatmaps() will make on top of the forward.
  int64_t perturbedRows() const;

 private:
  // What autograd gave for at most one target of each image, so that gradients do not mix: of each layer that
  // of its maps, [B, C, ...space] in full precision.
  using Walk = ActivationsAndGradients::Gradients;
  std::vector<Walk> walkBack(bool second);
  std::vector<at::Tensor> mapsOfFormula(const LayerFormula& formula,
                                        const MethodRequest& request,
                                        const std::vector<Walk>& walks) const;
  std::vector<at::Tensor> mapsOfModel(const ModelMethod& method,
                                      const MethodRequest& request,
                                      const std::function<void(int64_t rows)>& advance) const;
  std::vector<int64_t> mapSize() const;
  void readScores();

  ModelState& state_;
  const Plan& plan_;
  const ExplainRequest& request_;
  const ModelInputs inputs_;
  const ExplainedOutput& explainedOutput_;
  const Cancellation& cancellation_;
  const ActivationsAndGradients captured_;
  const ReshapeTransform reshape_;  // as asked for, or as the layers' weights tell
  const std::vector<Layer> layers_;
  c10::IValue explained_;  // the selected part of the output
  std::vector<ResolvedTarget> targets_;
  std::optional<TargetWalks> targetWalks_;
  std::vector<double> scores_;
  at::Tensor scoreTensor_;  // [N], differentiable
};

}  // namespace gradcam
