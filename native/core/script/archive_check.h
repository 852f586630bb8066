#pragma once

#include <string>

#include "core/process/torch.h"

namespace gradcam {

// LibTorch's loader believes what an archive says of its tensors, and reads or writes beyond the memory it
// has when that is not true. These say so first, with a std::runtime_error.

// Before loading: is every tensor's record there, and as long as the tensor's elements need? And does no
// pickle make LibTorch take memory that its length cannot account for?
void checkRecords(const std::string& path);

// Whether a tensor of these sizes and strides, in elements, lies within `elements` of memory.
bool liesWithin(at::IntArrayRef sizes, at::IntArrayRef strides, int64_t offset, uint64_t elements);

// After loading: does every tensor that belongs to the module lie within its storage?
void checkStorages(const torch::jit::Module& module);

}  // namespace gradcam
