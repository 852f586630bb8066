#include "core/host_memory.h"

#include <atomic>

#include "core/device_jobs.h"
#include "core/device_memory.h"

namespace gradcam {
namespace {

constexpr std::size_t kMostLocked = std::size_t{1} << 29;
constexpr std::size_t kLeastLocked = std::size_t{1}
                                     << 16;  // below, a copy's start takes longer than the copy

std::atomic<std::size_t> lockedBytes = 0;

// Undefined where there is no more to be locked.
at::Tensor lockedTensor(at::IntArrayRef sizes, at::ScalarType type, std::size_t bytes) {
  if (lockedBytes.fetch_add(bytes) + bytes > kMostLocked) {
    lockedBytes -= bytes;
    return {};
  }
  try {
    at::Tensor locked = at::empty(sizes, at::TensorOptions(type).pinned_memory(true));
    void* data = locked.data_ptr();
    const auto release = [locked, bytes](void*) mutable {
      locked.reset();
      lockedBytes -= bytes;
    };
    return at::from_blob(data, sizes, release, at::TensorOptions(type));
  } catch (const c10::Error&) {  // a limit of the system's, on what may be locked
    lockedBytes -= bytes;
    return {};
  }
}

}  // namespace

at::Tensor emptyOnHost(at::IntArrayRef sizes, at::ScalarType type) {
  const std::size_t bytes = c10::multiply_integers(sizes) * c10::elementSize(type);
  if (bytes >= kLeastLocked && deviceInUse()) {
    if (at::Tensor locked = lockedTensor(sizes, type, bytes); locked.defined()) return locked;
  }
  return at::empty(sizes, type);
}

at::Tensor copyToHost(const at::Tensor& tensor) {
  if (tensor.is_cpu()) return tensor.contiguous();
  at::Tensor copy = emptyOnHost(tensor.sizes(), tensor.scalar_type());
  copy.copy_(tensor.contiguous(), /*non_blocking=*/true);
  synchronizeStream(tensor.device());
  return copy;
}

at::Tensor copyToDevice(const at::Tensor& tensor, at::Device device) {
  if (tensor.device() == device) return tensor;
  if (device.is_cpu() || !tensor.is_cpu()) return tensor.to(device);
  return tensor.pin_memory().to(device, /*non_blocking=*/true);
}

}  // namespace gradcam
