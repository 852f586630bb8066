#pragma once

#include "core/tensor_handle.h"
#include "core/torch.h"

namespace gradcam {

struct TensorState {
  at::Tensor tensor;
};

inline TensorHandle toHandle(at::Tensor tensor) {
  return TensorHandle(std::make_shared<const TensorState>(TensorState{std::move(tensor)}));
}

}  // namespace gradcam
