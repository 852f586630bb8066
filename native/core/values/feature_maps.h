#pragma once

#include <vector>

#include "api/output_tree.h"
#include "core/process/torch.h"

namespace gradcam {

// What a layer gives, as feature maps: the tensor that its output is, or that `selector` chooses of it; or
// several, where nothing is chosen of a dictionary, list or tuple of tensors: the levels of a feature
// pyramid.

// Whether values of this type are several tensors.
bool isOfMaps(const c10::TypePtr& type);

// The maps, in order; none where there is no tensor at `selector`, or, without one, where the output holds
// anything else.
std::vector<at::Tensor> mapsOf(const c10::IValue& output, const OutputSelector& selector = {});

// An output like `output`, with other maps, in the order of mapsOf().
c10::IValue withMaps(const c10::IValue& output,
                     const OutputSelector& selector,
                     const std::vector<at::Tensor>& maps);

}  // namespace gradcam
