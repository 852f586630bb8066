#include "core/process/host_memory.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <system_error>
#include <thread>
#include <vector>

#include "api/device_memory.h"
#include "core/process/device_jobs.h"

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

void copyBytes(void* destination, const void* source, std::size_t bytes) {
  constexpr std::size_t kPart = std::size_t{4} << 20;  // about a millisecond
  const std::size_t parts =
      std::min<std::size_t>({bytes / kPart, 4, std::max(1U, std::thread::hardware_concurrency() / 4)});
  const std::size_t ofPart = parts > 1 ? bytes / parts : bytes;
  const auto copy = [&](std::size_t first, std::size_t last) {
    std::memcpy(static_cast<char*>(destination) + first, static_cast<const char*>(source) + first,
                last - first);
  };
  std::vector<std::thread> helpers;
  std::size_t first = 0;
  try {
    for (; helpers.size() + 1 < parts; first += ofPart) helpers.emplace_back(copy, first, first + ofPart);
  } catch (const std::system_error&) {
    // The system has no thread to give: this one copies the rest.
  }
  copy(first, bytes);
  for (std::thread& helper : helpers) helper.join();
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

at::Tensor indexTensor(at::ArrayRef<int64_t> indices, at::Device device) {
  return copyToDevice(at::tensor(indices, at::TensorOptions().dtype(at::kLong)), device);
}

}  // namespace gradcam
