#pragma once

#include <exception>
#include <optional>

#include "api/device_memory.h"
#include "api/failure.h"
#include "api/lost_device.h"
#include "core/process/torch.h"

namespace gradcam {

// What LibTorch keeps for the whole process and a model may ask for.
struct DeviceMode {
  bool tf32 = false;            // products of float32 on tensor cores, with 10 bits of mantissa
  bool cudnnBenchmark = false;  // cuDNN tries its algorithms on each new shape
  bool operator==(const DeviceMode&) const = default;
};

// While it lives, what this thread asks of a GPU runs on a stream of the thread's own, walks back included,
// so that executors do not wait for each other; ends when all of it is done, so that nothing the job held is
// read once it is freed. Does nothing for the CPU. Uses only c10's device-independent interfaces: nothing of
// CUDA is linked.
class DeviceStream {
 public:
  explicit DeviceStream(at::Device device);
  ~DeviceStream();
  DeviceStream(const DeviceStream&) = delete;
  DeviceStream& operator=(const DeviceStream&) = delete;

 private:
  std::optional<c10::StreamGuard> guard_;
  bool walksBackInThreads_ = true;
};

// Jobs of one mode run side by side, those of another wait for them, in the order they came.
class ModeGuard {
 public:
  explicit ModeGuard(const DeviceMode& mode);
  ~ModeGuard();
  ModeGuard(const ModeGuard&) = delete;
  ModeGuard& operator=(const ModeGuard&) = delete;
};

// Waits until all that was asked of `device` is done, on all streams.
void synchronize(at::Device device);
// Waits until what this thread asked of `device` is done. Does nothing for the CPU.
void synchronizeStream(at::Device device);

// What an exception of a job on a GPU amounts to; where the device is lost, that.
Failure failureOnDevice(std::exception_ptr exception, at::Device device);

// Runs `work`, a job's use of `device`, and gives what it gives. On a GPU that is out of memory once more,
// with what was kept for other tensors given back. Throws Failure.
template <typename Work>
auto onDevice(at::Device device, const DeviceMode& mode, const Work& work) {
  if (device.is_cpu()) return work();
  for (bool again = false;; again = true) {
    refuseLostDevice();
    try {
      const ModeGuard settings(mode);
      const DeviceStream stream(device);
      return work();
    } catch (...) {
      const Failure failure = failureOnDevice(std::current_exception(), device);
      if (again || failure.code != "ERR_OUT_OF_MEMORY") throw failure;
    }
    releaseDeviceMemory();
  }
}

}  // namespace gradcam
