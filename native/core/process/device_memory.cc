#include "api/device_memory.h"

#include <cstdlib>
#include <mutex>

#include "api/cuda_library.h"
#include "api/lost_device.h"
#include "core/process/torch.h"

namespace gradcam {
namespace {

// None while no GPU was used.
c10::DeviceAllocator* allocator() {
  if (!cudaLibraryLoaded() || deviceIsLost()) return nullptr;
  auto* ofDevice = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(at::kCUDA));
  return ofDevice != nullptr && ofDevice->initialized() ? ofDevice : nullptr;
}

struct Releases {
  std::mutex mutex;
  bool stopped = false;
};

Releases& releases() {
  static auto* instance = new Releases;  // never destroyed: executors outlive main()
  return *instance;
}

}  // namespace

void stopReleasingAtExit() {
  releases();
  // What was registered last runs first: before the destructors of the library that is loaded already.
  std::atexit([] {
    const std::lock_guard lock(releases().mutex);
    releases().stopped = true;
  });
}

bool deviceInUse() {
  return allocator() != nullptr;
}

std::vector<DeviceMemory> deviceMemory() {
  std::vector<DeviceMemory> devices;
  auto* ofDevice = allocator();
  for (int index = 0; ofDevice != nullptr && index < cudaInfo().deviceCount; ++index) {
    const auto statistics = ofDevice->getDeviceStats(static_cast<c10::DeviceIndex>(index));
    constexpr auto all = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    const auto reserved = static_cast<std::size_t>(statistics.reserved_bytes[all].current);
    const auto inUse = static_cast<std::size_t>(statistics.allocated_bytes[all].current);
    if (reserved > 0) devices.push_back({"cuda:" + std::to_string(index), inUse, reserved - inUse});
  }
  return devices;
}

void releaseDeviceMemory() noexcept {
  if (!cudaLibraryLoaded()) return;
  const std::lock_guard lock(releases().mutex);
  if (releases().stopped) return;
  try {
    auto* ofDevice = allocator();
    if (ofDevice == nullptr) return;
    ofDevice->emptyCache();
    at::getHostAllocator(at::kCUDA)->empty_cache();
  } catch (...) {
    // A device that failed; the job that made it fail says so.
  }
}

}  // namespace gradcam
