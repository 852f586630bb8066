#pragma once

#include <vector>

#include "core/process/torch.h"

namespace gradcam {

// Layers that give several maps at once, as the levels of a feature pyramid: a dictionary, list or tuple of
// tensors.

// Whether values of this type are several tensors.
bool isOfMaps(const c10::TypePtr& type);

// The tensors, in order; none where the value holds anything else.
std::vector<at::Tensor> mapsOf(const c10::IValue& value);

// A value like `value`, with other tensors, in its order.
c10::IValue withMaps(const c10::IValue& value, const std::vector<at::Tensor>& maps);

}  // namespace gradcam
