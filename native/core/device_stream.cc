#include "core/device_stream.h"

#include <map>

namespace gradcam {

DeviceStream::DeviceStream(at::Device device) {
  if (device.is_cpu()) return;
  thread_local std::map<c10::DeviceIndex, c10::Stream> streams;
  auto stream = streams.find(device.index());
  if (stream == streams.end()) {
    const c10::impl::VirtualGuardImpl backend(device.type());
    stream = streams.emplace(device.index(), backend.getStreamFromGlobalPool(device)).first;
  }
  guard_.emplace(stream->second);
}

at::Tensor copyToDevice(const at::Tensor& tensor, at::Device device) {
  if (tensor.device() == device) return tensor;
  if (device.is_cpu() || !tensor.is_cpu()) return tensor.to(device);
  return tensor.pin_memory().to(device, /*non_blocking=*/true);
}

void synchronize(at::Device device) {
  if (!device.is_cpu()) c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
}

}  // namespace gradcam
