#pragma once

#include <optional>

#include "core/torch.h"

namespace gradcam {

// While it lives, what this thread asks of `device` runs on a stream of the thread's own, so that executors
// do not wait for each other on a GPU. Does nothing for the CPU. Uses only c10's device-independent
// interfaces: nothing of CUDA is linked.
class DeviceStream {
 public:
  explicit DeviceStream(at::Device device);

 private:
  std::optional<c10::StreamGuard> guard_;
};

// A copy on `device`. To a GPU by way of page-locked memory, so that neither the copy nor the thread waits.
at::Tensor copyToDevice(const at::Tensor& tensor, at::Device device);

// Waits until all that was asked of `device` is done, on all streams.
void synchronize(at::Device device);

}  // namespace gradcam
