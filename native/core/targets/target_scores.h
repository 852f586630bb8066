#pragma once

#include "api/targets.h"
#include "core/process/torch.h"
#include "core/values/output_rows.h"

namespace gradcam {

// A target of one image, with ranks made classes.
struct ResolvedTarget {
  int64_t imageIndex;
  int64_t targetIndex;
  int64_t classIndex;  // -1 where the target is not a class
  Target target;
};

ExplainedMap explainedMap(const ResolvedTarget& target, double score);

// All targets in the order of the maps: by image, then by target.
// Throws ERR_OUTPUT_SHAPE, ERR_TARGET_COUNT, ERR_CLASS_OUT_OF_RANGE.
std::vector<ResolvedTarget> resolveTargets(const c10::IValue& output,
                                           const TargetsPerImage& targets,
                                           int64_t imageCount);

// `resolved`, checked against the output, where they are given; else resolveTargets().
std::vector<ResolvedTarget> targetsOf(const c10::IValue& output,
                                      const TargetsPerImage& targets,
                                      int64_t imageCount,
                                      const std::vector<ResolvedTarget>* resolved);

// The differentiable score of one image's output. Throws ERR_OUTPUT_SHAPE, ERR_FORWARD.
at::Tensor scoreOf(const Target& target, const c10::IValue& ofImage);

// The same for what is explained, where a box target that matches no detection is no score of 0, which
// nothing could explain: throws ERR_NO_DETECTION.
at::Tensor explainedScoreOf(const Target& target, const c10::IValue& ofImage);

// The scores of one target for each row of a batched output, [rows].
at::Tensor scoresOfRows(const Target& target, const c10::IValue& output, int64_t rows);

// The scores of `targets`, [N], recorded by autograd whatever its mode is. Throws ERR_NO_DETECTION.
at::Tensor scoresOf(const c10::IValue& output, const std::vector<ResolvedTarget>& targets);

// The scores as plain numbers.
std::vector<double> scoreValues(const at::Tensor& scores);

}  // namespace gradcam
