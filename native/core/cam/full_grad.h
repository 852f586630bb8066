#pragma once

#include "core/explain.h"

namespace gradcam {

// FullGrad (Srinivas and Fleuret 2019): the input times its gradient, and of every convolution and BatchNorm
// with a bias the bias times its output's gradient; the magnitudes of each channel scaled to 0..1, resized to
// the input and added up. Uses the request's inputs, targets and output; it has no target layer and no
// smoothing.
Explanation fullGrad(const Model& model, const ExplainRequest& request, const Cancellation& cancellation);

}  // namespace gradcam
