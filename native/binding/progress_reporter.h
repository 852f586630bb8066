#pragma once

#include <napi.h>

#include <atomic>
#include <memory>

namespace gradcam {

// Calls a JavaScript function with (done, total) of long work. Reports may come faster than JavaScript takes
// them: then only the newest is delivered. Does not keep the process alive.
class ProgressReporter {
 public:
  // Null where `callback` is no function.
  static std::shared_ptr<ProgressReporter> create(Napi::Env env, const Napi::Value& callback) {
    if (!callback.IsFunction()) return nullptr;
    return std::shared_ptr<ProgressReporter>(new ProgressReporter(env, callback.As<Napi::Function>()));
  }

  ~ProgressReporter() {
    if (!closed_) function_.Release();
  }
  ProgressReporter(const ProgressReporter&) = delete;
  ProgressReporter& operator=(const ProgressReporter&) = delete;

  // On any thread.
  void report(int64_t done, int64_t total) {
    state_->done = done;
    state_->total = total;
    if (state_->pending.exchange(true)) return;
    const auto status = function_.NonBlockingCall([state = state_](Napi::Env env, Napi::Function function) {
      state->pending = false;
      function.Call({Napi::Number::New(env, static_cast<double>(state->done)),
                     Napi::Number::New(env, static_cast<double>(state->total))});
    });
    if (status != napi_ok) state_->pending = false;
    if (status == napi_closing) closed_ = true;  // the environment ends and has released it for us
  }

 private:
  struct State {
    std::atomic<int64_t> done{0}, total{0};
    std::atomic<bool> pending{false};
  };

  ProgressReporter(Napi::Env env, const Napi::Function& callback)
      : function_(Napi::ThreadSafeFunction::New(env, callback, "gradcam progress", 0, 1)) {
    function_.Unref(env);
  }

  Napi::ThreadSafeFunction function_;
  bool closed_ = false;  // used by the executor that runs the job
  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace gradcam
