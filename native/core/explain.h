#pragma once

#include "core/cancellation.h"
#include "core/model.h"
#include "core/plan_description.h"
#include "core/reshape_transform.h"
#include "core/targets.h"

namespace gradcam {

enum class CallKind { Last, All, Index };

struct TargetLayer {
  std::string path;
  CallKind call = CallKind::Last;
  int callIndex = 0;  // for CallKind::Index
};

struct ExplainRequest {
  std::string method;
  // Of each of the model's inputs the parts that, one behind the other, make its batch. The first input is
  // the images, [B, C, ...space].
  std::vector<std::vector<TensorHandle>> inputs;
  std::vector<TargetLayer> layers;
  OutputSelector output;
  ReshapeTransform reshape;  // of the layers' activations and gradients
  TargetsPerImage targets;
  bool optimize = true;  // freeze and split the model for speed; the maps are the same to rounding
  bool upsample = true;  // to the input's spatial size; else the (largest) layer's
};

struct ExplainedMap {
  int64_t imageIndex;
  int64_t targetIndex;
  int64_t classIndex;
  double score;
  bool hasPositiveEvidence;
};

struct ExplainedLayer {
  std::string path;
  int callIndex;
  std::vector<int64_t> shape;
};

struct StageTimings {  // milliseconds
  double plan = 0;
  double forward = 0;
  double backward = 0;
  double cam = 0;
};

struct Explanation {
  TensorHandle heatmaps;  // float32 [N, ...space], N = number of (image, target) pairs
  OutputTree outputs;
  std::vector<ExplainedMap> maps;
  std::vector<ExplainedLayer> layers;
  StageTimings timings;
};

// How an explain at these layers runs the model.
PlanDescription describePlan(const Model& model, const std::vector<TargetLayer>& layers, bool optimize);

Explanation explain(const Model& model, const ExplainRequest& request, const Cancellation& cancellation);

}  // namespace gradcam
