#pragma once

#include "api/output_tree.h"
#include "core/targets/target_scores.h"

namespace gradcam {

// The part of a model's output that targets are told of. That of mirrored images is mirrored back, so that
// masks and whatever else a target knows of places stay what they are for the image as it is.
class ExplainedOutput {
 public:
  explicit ExplainedOutput(const OutputSelector& selector) : selector_(selector) {}
  // Of mirrored images of the shape [B, C, ...space] or [B, H, W, C]. `targets` must outlive it.
  ExplainedOutput(const OutputSelector& selector, at::IntArrayRef images, const TargetsPerImage& targets);

  // Throws ERR_OUTPUT_SELECTOR and, where it cannot be told how the output is mirrored, ERR_UNSUPPORTED.
  c10::IValue of(const c10::IValue& output) const;
  const OutputSelector& selector() const { return selector_; }

 private:
  const OutputSelector& selector_;
  std::vector<int64_t> images_;  // empty: not mirrored
  const TargetsPerImage* targets_ = nullptr;
};

}  // namespace gradcam
