#pragma once

#include "core/cam/network_method.h"

namespace gradcam {

// FullGrad (Srinivas and Fleuret 2019): the input times its gradient, and of every convolution and BatchNorm
// with a bias the bias times its output's gradient; the magnitudes of each channel scaled to 0..1, resized to
// the input and added up. With eigenSmooth the terms are projected on their first principal component, at an
// eighth of the size, instead, as pytorch-grad-cam does. Uses the request's targets and output.
NetworkMaps fullGrad(ModelState& state,
                     const ExplainRequest& request,
                     const ModelInputs& inputs,
                     const ExplainedOutput& output,
                     const std::vector<ResolvedTarget>* resolved,
                     const Cancellation& cancellation,
                     StageTimings& timings);

}  // namespace gradcam
