#pragma once

#include <functional>
#include <string>
#include <vector>

#include "api/cancellation.h"
#include "api/reshape_transform.h"
#include "core/model/row_runs.h"
#include "core/plan/activations_and_gradients.h"
#include "core/plan/plan.h"
#include "core/process/torch.h"
#include "core/targets/explained_output.h"
#include "core/targets/target_scores.h"

namespace gradcam {

// What the methods that run the model again and again need. Without gradients.
struct PerturbedRuns {
  ModelState& state;
  const std::string& modelMethod;
  const Plan& plan;
  const ModelInputs& inputs;  // of the whole batch
  const ExplainedOutput& output;
  const c10::IValue& explained;  // of the whole batch
  const ReshapeTransform& reshape;
  int64_t batchSize;  // most rows of one run
  const Cancellation& cancellation;
  const std::function<void(int64_t rows)>& advance;  // called after each run
};

// Score-CAM (Wang et al. 2020, eq. 4 to 6): a channel's weight is the softmax, over channels, of the score of
// the image seen through the channel's activation, scaled to 0..1 and to the input's size (align_corners, as
// pytorch-grad-cam). `activation` is [B, C, ...space]. -> [targets, C], one row for each of `targets`.
at::Tensor scoreCamWeights(const PerturbedRuns& runs,
                           const at::Tensor& activation,
                           const std::vector<ResolvedTarget>& targets);

// Ablation-CAM (Desai and Ramaswamy 2020, eq. 3): a channel's weight is the relative drop of the score
// without it. The prefix runs once for each image, the tail for batches of channels. `ratio` below 1 ablates
// only that share of the channels, those that lie most on the activation's first principal component; the
// others weigh nothing. `activation` is the layer's, [B, C, ...space].
at::Tensor ablationCamWeights(const PerturbedRuns& runs,
                              const ActivationsAndGradients::Layer& layer,
                              const at::Tensor& activation,
                              const std::vector<ResolvedTarget>& targets,
                              double ratio);

}  // namespace gradcam
