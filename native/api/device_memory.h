#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace gradcam {

struct DeviceMemory {
  std::string device;  // "cuda:0"
  std::size_t inUse;   // bytes of tensors
  std::size_t cached;  // bytes kept for the next ones
};

// True once a model was loaded onto a GPU.
bool deviceInUse();
// Of the GPUs that this process uses.
std::vector<DeviceMemory> deviceMemory();
// Call once LibTorch's CUDA half is there: no memory is released any more from the moment that the process
// ends and that half is taken down, for idle executors do not know.
void stopReleasingAtExit();
// Gives what is kept for the next tensors back to the GPUs and, of page-locked memory, to the system. Never
// throws.
void releaseDeviceMemory() noexcept;

}  // namespace gradcam
