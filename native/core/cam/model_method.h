#pragma once

#include <functional>
#include <vector>

#include "api/explain.h"
#include "core/cam/cam_layers.h"
#include "core/model/row_runs.h"
#include "core/plan/activations_and_gradients.h"
#include "core/targets/explained_output.h"
#include "core/targets/target_walks.h"

namespace gradcam {

// A batch as its forward left it, for methods that ask the model for more than that.
struct ExplainedBatch {
  ModelState& state;
  const std::string& modelMethod;
  const Plan& plan;  // without gradients where the method needs none
  const ModelInputs& inputs;
  const ExplainedOutput& output;
  const c10::IValue& explained;
  const ReshapeTransform& reshape;
  const ActivationsAndGradients& captured;
  const std::vector<CamLayer>& layers;  // captured.layers() as CAMs read them
  const std::vector<ResolvedTarget>& targets;
  const TargetWalks& walks;  // of the targets
  const Cancellation& cancellation;
  const std::function<void(int64_t rows)>& advance;  // called after each run of the model
};

// A method that explains at target layers and needs the model itself: runs it on changed copies of the images
// or with a changed layer, or reads its weights.
struct ModelMethod {
  // Of each layer the raw maps of the targets, [N, ...space].
  std::vector<at::Tensor> (*maps)(const ExplainedBatch& batch, const MethodRequest& request);
  // How many rows, copies of an image, it will run the model on; null: none.
  int64_t (*rows)(const std::vector<CamLayer>& layers,
                  int64_t images,
                  const MethodRequest& request) = nullptr;
  bool needsGradients = false;  // of its runs of the model
};

// The raw maps of the targets at one layer, [N, ...space], whose channels weigh as `weights`, [N, C], say: of
// the weighted channels the sum, or with `eigenSmooth` the first principal component.
at::Tensor weightedMaps(const ExplainedBatch& batch,
                        const at::Tensor& activation,
                        const at::Tensor& weights,
                        bool eigenSmooth);

// Score-CAM (Wang et al. 2020, eq. 4 to 6): a channel's weight is the softmax, over channels, of the score of
// the image seen through the channel's activation, scaled to 0..1 and to the input's size (align_corners, as
// pytorch-grad-cam).
std::vector<at::Tensor> scoreCam(const ExplainedBatch& batch, const MethodRequest& request);
int64_t rowsOfScoreCam(const std::vector<CamLayer>& layers, int64_t images, const MethodRequest& request);

// Ablation-CAM (Desai and Ramaswamy 2020, eq. 3): a channel's weight is the relative drop of the score
// without it. The prefix runs once for each image, the tail for batches of channels. With a ratio below 1
// only that share of the channels is ablated, those that lie most on the activation's first principal
// component; the others weigh nothing.
std::vector<at::Tensor> ablationCam(const ExplainedBatch& batch, const MethodRequest& request);
int64_t rowsOfAblationCam(const std::vector<CamLayer>& layers, int64_t images, const MethodRequest& request);

// Smooth Grad-CAM++ (Omeiza et al. 2019): Grad-CAM++ with the powers of the gradient averaged over noisy
// copies of the input, on the activations of the input itself. Throws ERR_UNSUPPORTED for feature pyramids.
std::vector<at::Tensor> smoothGradCamPlusPlus(const ExplainedBatch& batch, const MethodRequest& request);
int64_t rowsOfSmoothGradCamPlusPlus(const std::vector<CamLayer>& layers,
                                    int64_t images,
                                    const MethodRequest& request);

// CAM (Zhou et al. 2016, eq. 2): the channels weighted as the linear layer behind the pooling weights them
// for the class. An empty `linear` is found: the one layer that makes the model's output of the activation's
// mean over space. Throws ERR_UNKNOWN_LAYER, ERR_LAYER_OUTPUT, ERR_UNSUPPORTED, ERR_CLASS_OUT_OF_RANGE.
std::vector<at::Tensor> classActivationMaps(const ExplainedBatch& batch, const MethodRequest& request);

}  // namespace gradcam
