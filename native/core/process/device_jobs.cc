#include "core/process/device_jobs.h"

#include <condition_variable>
#include <map>
#include <mutex>

namespace gradcam {
namespace {

// Whose turn it is to set what LibTorch keeps for the whole process.
class ModeGate {
 public:
  void enter(const DeviceMode& mode) {
    std::unique_lock lock(mutex_);
    const std::size_t turn = given_++;
    changed_.wait(lock, [&] { return turn == next_ && (inside_ == 0 || mode_ == mode); });
    if (mode_ != mode) set(mode);
    mode_ = mode;
    ++inside_;
    ++next_;
    changed_.notify_all();
  }

  void leave() {
    const std::lock_guard lock(mutex_);
    --inside_;
    changed_.notify_all();
  }

 private:
  static void set(const DeviceMode& mode) {
    at::Context& context = at::globalContext();
    context.setAllowTF32CuDNN(mode.tf32);
    context.setAllowTF32CuBLAS(mode.tf32);
    context.setBenchmarkCuDNN(mode.cudnnBenchmark);
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<DeviceMode> mode_;  // LibTorch's own at first
  int inside_ = 0;
  std::size_t given_ = 0, next_ = 0;
};

ModeGate& gate() {
  static auto* instance = new ModeGate;  // never destroyed: executors outlive main()
  return *instance;
}

c10::impl::VirtualGuardImpl backendOf(at::Device device) {
  return c10::impl::VirtualGuardImpl(device.type());
}

}  // namespace

DeviceStream::DeviceStream(at::Device device) {
  if (device.is_cpu()) return;
  thread_local std::map<c10::DeviceIndex, c10::Stream> streams;
  auto stream = streams.find(device.index());
  if (stream == streams.end())
    stream = streams.emplace(device.index(), backendOf(device).getStreamFromGlobalPool(device)).first;
  guard_.emplace(stream->second);
  // Autograd would hand every walk back to one thread for the device, for which all executors would wait.
  auto& autograd = c10::AutogradState::get_tls_state();
  walksBackInThreads_ = autograd.get_multithreading_enabled();
  autograd.set_multithreading_enabled(false);
}

DeviceStream::~DeviceStream() {
  if (!guard_) return;
  c10::AutogradState::get_tls_state().set_multithreading_enabled(walksBackInThreads_);
  try {
    guard_->current_stream().synchronize();
  } catch (...) {
    // The job itself failed of it, or the next one will.
  }
}

ModeGuard::ModeGuard(const DeviceMode& mode) {
  gate().enter(mode);
}

ModeGuard::~ModeGuard() {
  gate().leave();
}

void synchronize(at::Device device) {
  if (!device.is_cpu()) backendOf(device).synchronizeDevice(device.index());
}

void synchronizeStream(at::Device device) {
  if (!device.is_cpu()) backendOf(device).getStream(device).synchronize();
}

Failure failureOnDevice(std::exception_ptr exception, at::Device device) {
  const Failure failure = toFailure(exception);
  if (deviceIsLost()) return lostDeviceFailure();
  try {
    synchronize(device);  // fails for good once the device is lost
    return failure;
  } catch (...) {
    const std::string what = torchMessage(std::current_exception());
    rememberLostDevice("The GPU " + device.str() + " failed: " + what.substr(0, what.find('\n')) + ".");
  }
  return lostDeviceFailure();
}

}  // namespace gradcam
