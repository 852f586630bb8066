#pragma once

#include <vector>

#include "core/targets/target_scores.h"

namespace gradcam {

// The walks back that a batch's targets need. Each serves one target of every image: images do not influence
// each other, so from the sum of their scores each image gets the gradient of its own.
class TargetWalks {
 public:
  explicit TargetWalks(const std::vector<ResolvedTarget>& targets);

  // As many as the image with the most targets has.
  std::size_t count() const { return rows_.size(); }
  bool isLast(std::size_t walk) const { return walk + 1 == count(); }
  // What a walk starts from, []. `scores` are scoresOf() the targets.
  at::Tensor loss(const at::Tensor& scores, std::size_t walk) const;

  // Of what each walk gave for the batch, [B, ...] each, what belongs to the targets, [N, ...].
  at::Tensor ofTargets(const std::vector<at::Tensor>& ofWalks) const;
  // The same of what is one for all walks, [B, ...].
  at::Tensor ofTargets(const at::Tensor& ofImages) const;

 private:
  std::vector<std::vector<int64_t>> rows_;  // of each walk, among the targets
  std::vector<int64_t> walks_, images_;     // of each target
};

}  // namespace gradcam
