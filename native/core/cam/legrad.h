#pragma once

#include "core/cam/network_method.h"

namespace gradcam {

// LeGrad (Bousselham et al. 2024): of every attention in the model the positive gradient of the score with
// respect to the softmax, averaged over heads and queries, what falls on the tokens of the image; averaged
// over the layers. Fused attention is written out first. The request's reshape transform tells prefix tokens
// and grid; it has no target layers. Throws ERR_UNSUPPORTED where the model has no attention over its tokens.
NetworkMaps leGrad(ModelState& state,
                   const ExplainRequest& request,
                   const ModelInputs& inputs,
                   const ExplainedOutput& output,
                   const std::vector<ResolvedTarget>* resolved,
                   const Cancellation& cancellation,
                   StageTimings& timings);

}  // namespace gradcam
