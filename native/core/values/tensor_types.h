#pragma once

#include <algorithm>

#include "core/process/torch.h"

namespace gradcam {

inline bool isTensorType(const c10::TypePtr& type) {
  return type->isSubtypeOf(*c10::TensorType::get());
}

inline bool mayHoldTensor(const c10::TypePtr& type) {
  if (isTensorType(type) || type->kind() == c10::TypeKind::AnyType) return true;
  const auto inner = type->containedTypes();
  return std::any_of(inner.begin(), inner.end(), mayHoldTensor);
}

// In float32, where it is not in float64: half precision is for the model, not for the map.
inline at::Tensor inFullPrecision(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kDouble ? tensor : tensor.to(at::kFloat);
}

}  // namespace gradcam
