#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "api/tensor_handle.h"

namespace gradcam {

// A value that JSON could hold (and integers of 64 bits): what a parameter that is no image is given.
struct ArgumentTree {
  using List = std::vector<ArgumentTree>;
  using Dict = std::vector<std::pair<std::string, ArgumentTree>>;
  std::variant<std::monostate, bool, double, int64_t, std::string, List, Dict> value;
};

// By the names of the method's parameters.
using Arguments = ArgumentTree::Dict;

// What a method of a model is called with, as it came.
struct GivenInputs {
  // Of each of the model's inputs the parts that, one behind the other, make its batch. The first input is
  // the images, [B, C, ...space].
  std::vector<std::vector<TensorHandle>> tensors;
  Arguments arguments;
};

}  // namespace gradcam
