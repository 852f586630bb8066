#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace gradcam {

// What a map explains: a scalar made from one image's output.
struct Target {
  enum class Kind {
    Class,  // the output of class `index` (pytorch-grad-cam's ClassifierOutputTarget)
    Rank,   // the output of the class with the (index + 1)-th highest output; 0 is the argmax
  } kind = Kind::Rank;
  int64_t index = 0;
};

// One list per image, or one list for all images.
using TargetsPerImage = std::vector<std::vector<Target>>;

}  // namespace gradcam
