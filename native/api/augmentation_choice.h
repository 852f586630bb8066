#pragma once

namespace gradcam {

// A changed copy of the input whose heatmap, changed back, is averaged with the others'.
struct AugmentationChoice {
  bool flip = false;    // along the last axis
  double multiply = 1;  // the (normalised) values
};

}  // namespace gradcam
