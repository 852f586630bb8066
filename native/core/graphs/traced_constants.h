#pragma once

#include <set>

#include "core/process/torch.h"

namespace gradcam {

// Tracing writes the device and the element types of the example run into the code as constants, so that a
// model traced on CUDA in half precision asks for both wherever it is loaded. Makes them what the loaded
// model's are, in every method of every class of the file: each device becomes `device`, and each element
// type in `castTypes`, which the weights were cast from, becomes `type`; so do tensors in lists, tuples and
// dictionaries, constants and attributes alike. Scripted code may find a device as it runs (an attribute, an
// argument's default, an expression): where an operation puts a tensor on a GPU, that becomes `device` too.
// To be called before anything of the model runs or is copied.
void adaptTracedConstants(const torch::jit::Module& module,
                          at::Device device,
                          const std::set<at::ScalarType>& castTypes,
                          at::ScalarType type);

}  // namespace gradcam
