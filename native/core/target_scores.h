#pragma once

#include "core/targets.h"
#include "core/torch.h"

namespace gradcam {

// A target of one image with its class found and its score taken from the output.
struct ResolvedTarget {
  int64_t imageIndex;
  int64_t targetIndex;
  int64_t classIndex;
  double score;
};

// All targets in the order of the maps: by image, then by target. `output` is [B, classes].
// Throws ERR_OUTPUT_SHAPE, ERR_TARGET_COUNT, ERR_CLASS_OUT_OF_RANGE.
std::vector<ResolvedTarget> resolveTargets(const at::Tensor& output,
                                           const TargetsPerImage& targets,
                                           int64_t imageCount);

// The differentiable sum of the scores of `targets`: images do not influence each other, so one walk back
// gives each image the gradient of its own score.
at::Tensor sumOfScores(const at::Tensor& output, const std::vector<ResolvedTarget>& targets);

}  // namespace gradcam
