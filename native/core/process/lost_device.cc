#include "api/lost_device.h"

#include <mutex>

namespace gradcam {
namespace {

struct Memory {
  std::mutex mutex;
  std::string how;
};

Memory& memory() {
  static auto* instance = new Memory;  // never destroyed: executors outlive main()
  return *instance;
}

}  // namespace

void rememberLostDevice(const std::string& how) {
  const std::lock_guard lock(memory().mutex);
  if (memory().how.empty()) memory().how = how;
}

bool deviceIsLost() {
  const std::lock_guard lock(memory().mutex);
  return !memory().how.empty();
}

Failure lostDeviceFailure() {
  const std::lock_guard lock(memory().mutex);
  return Failure(
      "ERR_CUDA_FAILED",
      memory().how +
          " CUDA gives this process no more results, of any model: restart it. The commonest cause "
          "is an index without an entry, such as a token that the model's table does not have.");
}

void refuseLostDevice() {
  if (deviceIsLost()) throw lostDeviceFailure();
}

}  // namespace gradcam
