#pragma once

#include <map>
#include <string>
#include <variant>
#include <vector>

#include "api/tensor_handle.h"

namespace gradcam {

// A model's output as it came: a tensor, a number, a text, or lists (tuples too) and dictionaries of these.
struct OutputTree {
  using List = std::vector<OutputTree>;
  using Dict = std::vector<std::pair<std::string, OutputTree>>;
  std::variant<std::monostate, TensorHandle, List, Dict, double, bool, std::string> value;
};

// The way from a model's output to the explained tensor: dictionary keys and positions, outermost first.
using OutputSelector = std::vector<std::variant<int64_t, std::string>>;

// "0", "'out'" or "[1, 'out']", as JavaScript writes it; "" for none.
std::string describeSelector(const OutputSelector& selector);

}  // namespace gradcam
