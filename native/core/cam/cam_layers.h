#pragma once

#include <string>
#include <vector>

#include "api/reshape_transform.h"
#include "core/plan/activations_and_gradients.h"
#include "core/plan/plan.h"
#include "core/process/torch.h"

namespace gradcam {

// A target layer's output as class activation maps read it.
struct CamLayer {
  std::string path;
  int callIndex;
  OutputSelector output;
  // [B, C, ...space], in full precision: what the layer gave, or the levels of a feature pyramid.
  std::vector<at::Tensor> maps;
  at::Tensor activation;  // the one map, or the levels joined
};

std::vector<CamLayer> camLayers(const ActivationsAndGradients& captured, const ReshapeTransform& reshape);

// A class activation map needs one value per channel and place, for the spatial axes that the input has, or,
// where it is not `resized`, for more of them. Throws ERR_LAYER_OUTPUT.
void checkActivations(const std::vector<CamLayer>& layers, const at::Tensor& input, bool resized);

// What was asked for, and what was not: channels last where the layers' weights tell of them, tokens in the
// order of rows. Throws ERR_LAYER_OUTPUT where the layers are not of one form.
ReshapeTransform reshapeFor(const Plan& plan,
                            const ActivationsAndGradients& captured,
                            const ReshapeTransform& asked,
                            const at::Tensor& input);

}  // namespace gradcam
