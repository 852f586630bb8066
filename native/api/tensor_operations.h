#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/tensor_handle.h"

namespace gradcam {

struct OperationArguments {
  std::vector<int64_t>
      dimensions;                // which dimensions; of select the dimension and the index, of reshape sizes
  std::optional<double> first;   // the scalar operand; of clamp the minimum, of norm the order
  std::optional<double> second;  // of clamp the maximum
  bool keepDimensions = false;
};

// One of the operations of JavaScript's Tensor, on the tensors' device; autograd records it where an operand
// has a gradient. Throws Failure ERR_TENSOR_OPERATION with LibTorch's reason.
TensorHandle applyOperation(const std::string& name,
                            const std::vector<TensorHandle>& operands,
                            const OperationArguments& arguments);

}  // namespace gradcam
