#pragma once

#include <string>
#include <vector>

#include "api/reshape_transform.h"
#include "core/cam/cam_method.h"
#include "core/plan/activations_and_gradients.h"

namespace gradcam {

// What a layer gave as [B, C, ...space]. Of the levels of a feature pyramid, pytorch-grad-cam's
// fasterrcnn_reshape_transform: their magnitudes, resized (bilinear) to the smallest level, one behind the
// other; to the finest where the smallest has one place along an axis. Throws ERR_LAYER_OUTPUT where
// `reshape` does not fit the layer.
at::Tensor activationOf(const ActivationsAndGradients::Layer& layer, const ReshapeTransform& reshape);

// The size of the finest level.
at::IntArrayRef finestSize(const std::vector<at::Tensor>& levels);

// The raw map, [B, ...space of the finest level], of a method that weights activations by gradients: each
// level is weighted for itself, and what that gives, resized, counts as the channels of one layer.
at::Tensor pyramidMap(const CamMethod& method,
                      const std::vector<MethodInput>& levels,
                      const MethodSettings& settings,
                      bool eigenSmooth);

}  // namespace gradcam
