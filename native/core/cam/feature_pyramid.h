#pragma once

#include <string>
#include <vector>

#include "api/reshape_transform.h"
#include "core/cam/cam_method.h"
#include "core/plan/activations_and_gradients.h"

namespace gradcam {

// Throws ERR_LAYER_OUTPUT where several tensors that a layer gives are not the levels of a feature pyramid,
// or `reshape` is not one that reads them together, and where one that does finds a single tensor.
void checkLevels(const ActivationsAndGradients::Layer& layer, const ReshapeTransform& reshape);

// The levels, [B, C, ...space] each, as one activation, pytorch-grad-cam's fasterrcnn_reshape_transform:
// their magnitudes, resized (bilinear) to the smallest level, one behind the other; to the finest where the
// smallest has one place along an axis.
at::Tensor joinLevels(const std::vector<at::Tensor>& levels);

// The size of the finest level.
at::IntArrayRef finestSize(const std::vector<at::Tensor>& levels);

// The raw map, [B, ...space of the finest level], of a method that weights activations by gradients: each
// level is weighted for itself, and what that gives, resized, counts as the channels of one layer. Of one
// level that is rawMap().
at::Tensor pyramidMap(const LayerFormula& formula,
                      const std::vector<FormulaInput>& levels,
                      const MethodRequest& request);

}  // namespace gradcam
