#pragma once

#include "api/explain.h"
#include "core/model/model_state.h"
#include "core/plan/activations_and_gradients.h"
#include "core/targets/explained_output.h"
#include "core/targets/target_walks.h"

namespace gradcam {

// What a method that looks at the whole network, not at target layers, explains.
struct NetworkBatch {
  ModelState& state;
  const ExplainRequest& request;
  const ModelInputs& inputs;  // the request's, prepared (and augmented) for the model
  const ExplainedOutput& output;
  const std::vector<ResolvedTarget>* resolved;  // for the input as it is; null where this is it
  const Cancellation& cancellation;
  StageTimings& timings;
};

// What it makes of that.
struct NetworkMaps {
  at::Tensor heatmaps;  // float32 [N, ...size] in 0..1 on the CPU, N as targets
  c10::IValue output;
  std::vector<ResolvedTarget> targets;
  std::vector<double> scores;
};

using NetworkMethod = NetworkMaps (*)(const NetworkBatch& batch);

// The forward of such a method, and what walks back from it.
struct NetworkForward {
  // With `recordFromImages` autograd records from the images on, not only from the first hooked layer.
  NetworkForward(const NetworkBatch& batch, const Plan& plan, bool recordFromImages);

  NetworkMaps maps(const at::Tensor& heatmaps) const;

  const at::Tensor images;
  const ActivationsAndGradients captured;
  const c10::IValue explained;
  const std::vector<ResolvedTarget> targets;
  const TargetWalks walks;
  const at::Tensor scores;  // [N], differentiable
};

// FullGrad (Srinivas and Fleuret 2019): the input times its gradient, and of every convolution and BatchNorm
// with a bias the bias times its output's gradient; the magnitudes of each channel scaled to 0..1, resized to
// the input and added up. With eigenSmooth the terms are projected on their first principal component, at an
// eighth of the size, instead, as pytorch-grad-cam does. Throws ERR_MODEL_FROZEN, ERR_LAYER_DISCONNECTED.
NetworkMaps fullGrad(const NetworkBatch& batch);

// LeGrad (Bousselham et al. 2024): of every attention in the model the positive gradient of the score with
// respect to the softmax, averaged over heads and queries, what falls on the tokens of the image; averaged
// over the layers. Fused attention is written out first. The request's reshape transform tells prefix tokens
// and grid. Throws ERR_UNSUPPORTED where the model has no attention over its tokens.
NetworkMaps leGrad(const NetworkBatch& batch);

}  // namespace gradcam
