#pragma once

#include <optional>
#include <vector>

#include "core/plan.h"

namespace gradcam {

// What a plan's prefix hands to its tail for one image, as it would be for any number of copies of that
// image: the prefix runs once, and the tail on many rows.
class RepeatedRows {
 public:
  // `inputs` are one image's part of the model's inputs, [1, ...] each.
  RepeatedRows(const Plan& plan, const ModelInputs& inputs);

  torch::jit::Stack of(int64_t rows) const;

 private:
  const bool tailWrites_;
  torch::jit::Stack one_;
  // What it hands over for two copies, which tells what of lists and objects belongs to the image; none where
  // only tensors cross.
  std::optional<torch::jit::Stack> two_;
};

}  // namespace gradcam
