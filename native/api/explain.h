#pragma once

#include <optional>

#include "api/augmentation_choice.h"
#include "api/cancellation.h"
#include "api/model.h"
#include "api/plan_description.h"
#include "api/progress.h"
#include "api/reshape_transform.h"
#include "api/target_layer.h"
#include "api/targets.h"
#include "api/upsampling.h"

namespace gradcam {

struct MethodRequest {
  std::string name;             // a row of cam_methods.cc
  bool eigenSmooth = false;     // project on the first principal component instead of summing the channels
  bool multiplyLayers = false;  // RefineCAM: the layers' heatmaps are multiplied, not averaged
  double femDeviations = 2;     // FEM
  int64_t seed = 0;             // RandomCAM
  int64_t batchSize = 32;       // ScoreCAM, AblationCAM: perturbed copies in one run
  double ratioToAblate = 1;     // AblationCAM: share of the channels that is ablated
  std::string linear;           // CAM: path of the linear layer behind the pooling; empty: found
  int64_t samples = 4;          // SmoothGradCAMPlusPlus: noisy copies,
  double deviation = 0.3;       // their noise's standard deviation,
  std::optional<TensorHandle> noise;  // or the noise itself, [samples, B, ...]
};

struct ExplainRequest {
  std::vector<MethodRequest>
      methods;  // all from one forward and one walk back per target, where they allow it
  GivenInputs inputs;
  std::vector<TargetLayer> layers;
  std::string modelMethod = "forward";  // which of the model's methods runs
  OutputSelector output;
  ReshapeTransform reshape;  // of the layers' activations and gradients
  TargetsPerImage targets;
  std::vector<AugmentationChoice> augmentations;  // of which the maps are averaged; none: the input as it is
  bool optimize = true;  // freeze and split the model for speed; the maps are the same to rounding
  // To the input's spatial size; with None the maps keep that of the (largest) layer.
  Upsampling upsample = Upsampling::Linear;
};

struct ExplainedLayer {
  std::string path;
  int callIndex;
  OutputSelector output;       // where the layer gives several things, the way to the explained tensor
  std::vector<int64_t> shape;  // [B, C, ...space], after any reshape transform
};

struct StageTimings {  // milliseconds
  double plan = 0;
  double forward = 0;
  double backward = 0;
  double cam = 0;
};

struct MethodResult {
  TensorHandle heatmaps;                  // float32 [N, ...space], N = number of (image, target) pairs
  std::vector<bool> hasPositiveEvidence;  // false where the map is zero everywhere
};

struct Explanation {
  std::vector<MethodResult> methods;  // in the order of the request
  OutputTree outputs;
  std::vector<ExplainedMap> maps;
  std::vector<ExplainedLayer> layers;
  StageTimings timings;
};

// How an explain at these layers runs the model.
PlanDescription describePlan(const Model& model,
                             const std::string& modelMethod,
                             const std::vector<TargetLayer>& layers,
                             bool optimize);

// `progress` counts rows, of methods that run the model many times.
Explanation explain(const Model& model,
                    const ExplainRequest& request,
                    const Cancellation& cancellation,
                    const Progress& progress);

}  // namespace gradcam
