#pragma once

#include <atomic>
#include <exception>

#include "api/failure.h"

namespace gradcam {

// Asks a job to stop; the job looks at it between its stages, and wherever it asks for a tensor's memory.
class Cancellation {
 public:
  void cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }
  // The code never reaches a user: the JavaScript side has already rejected with its signal's reason.
  void throwIfCancelled() const {
    if (cancelled()) throw Failure("ERR_INTERNAL", "The job was cancelled.");
  }

  // That of the job that runs on this thread; null where there is none.
  static const Cancellation* ofThisThread() { return current_; }

  // While it lives, this thread runs the job of `cancellation`; with null, what must not end half done.
  class Scope {
   public:
    explicit Scope(const Cancellation* cancellation) : outer_(current_) { current_ = cancellation; }
    ~Scope() { current_ = outer_; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    const Cancellation* const outer_;
  };

 private:
  inline static thread_local constinit const Cancellation* current_ = nullptr;
  std::atomic<bool> cancelled_ = false;
};

// For every place that may throw: the job of this thread ends here once it is cancelled.
inline void throwIfCancelled() {
  const Cancellation* cancellation = Cancellation::ofThisThread();
  // Not while an exception is on its way: what cleans up behind it may ask for memory.
  if (cancellation == nullptr || !cancellation->cancelled() || std::uncaught_exceptions() > 0) return;
  cancellation->throwIfCancelled();
}

}  // namespace gradcam
