#pragma once

#include <optional>
#include <vector>

#include "core/model/row_runs.h"
#include "core/plan/plan.h"

namespace gradcam {

// What a plan's prefix hands to its tail for one image, as it would be for any number of copies of that
// image: the prefix runs once, and the tail on many rows.
class RepeatedRows {
 public:
  RepeatedRows(const Plan& plan, const ImageCopies& copies, int64_t image);

  // Of several rows throws ERR_FORWARD where it cannot be told what belongs to the image, and what the prefix
  // throws for two.
  torch::jit::Stack of(int64_t rows) const;

 private:
  const Plan& plan_;
  const ImageCopies& copies_;
  const int64_t image_;
  torch::jit::Stack one_;
  bool hangsOnRows_;  // it takes a second run to tell what belongs to the image
  // What it hands over for two copies, made when first needed.
  mutable std::optional<torch::jit::Stack> two_;
};

}  // namespace gradcam
