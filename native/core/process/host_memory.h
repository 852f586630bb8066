#pragma once

#include "core/process/torch.h"

namespace gradcam {

// A tensor on the CPU. While a GPU is in use its memory is page-locked, which a GPU copies to and from at
// full speed and while the thread goes on; not more than half a GiB, for what is locked the system cannot
// move.
at::Tensor emptyOnHost(at::IntArrayRef sizes, at::ScalarType type);

// memcpy, of much by several threads: it is the JavaScript thread that waits.
void copyBytes(void* destination, const void* source, std::size_t bytes);

// A copy on the CPU, in rows. Waits until it is there.
at::Tensor copyToHost(const at::Tensor& tensor);

// A copy on `device`, by way of page-locked memory: neither the copy nor the thread waits.
at::Tensor copyToDevice(const at::Tensor& tensor, at::Device device);

// Indices, int64, for operations on `device`.
at::Tensor indexTensor(at::ArrayRef<int64_t> indices, at::Device device);

}  // namespace gradcam
