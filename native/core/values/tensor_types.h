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

// Whether the value is one tensor: not a nested one, which nn.TransformerEncoder makes of padded tokens, and
// which is a list of tensors in disguise, without sizes.
inline bool isOneTensor(const c10::IValue& value) {
  return value.isTensor() && value.toTensor().defined() && !value.toTensor().is_nested();
}

// In float32, where it is not in float64: half precision is for the model, not for the map.
inline at::Tensor inFullPrecision(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kDouble ? tensor : tensor.to(at::kFloat);
}

}  // namespace gradcam
