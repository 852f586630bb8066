#pragma once

#include <atomic>

#include "core/failure.h"

namespace gradcam {

// Asks a job to stop; the job looks at it between its stages.
class Cancellation {
 public:
  void cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }
  // The code never reaches a user: the JavaScript side has already rejected with its signal's reason.
  void throwIfCancelled() const {
    if (cancelled()) throw Failure("ERR_INTERNAL", "The job was cancelled.");
  }

 private:
  std::atomic<bool> cancelled_ = false;
};

}  // namespace gradcam
