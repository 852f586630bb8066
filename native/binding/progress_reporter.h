#pragma once

#include <atomic>
#include <memory>

#include "api/progress.h"
#include "binding/javascript_function.h"

namespace gradcam {

// Calls a JavaScript function with (done, total) of long work. Reports may come faster than JavaScript takes
// them: then only the newest is delivered.
class ProgressReporter {
 public:
  ProgressReporter(const Napi::Function& callback, std::shared_ptr<JobChannel> channel)
      : function_(callback, std::move(channel)) {}

  // On any thread.
  void report(int64_t done, int64_t total) {
    state_->done = done;
    state_->total = total;
    if (state_->pending.exchange(true)) return;
    function_.post([state = state_](Napi::Env env, const Napi::Function& function) {
      state->pending = false;
      function.Call({Napi::Number::New(env, static_cast<double>(state->done)),
                     Napi::Number::New(env, static_cast<double>(state->total))});
    });
  }

 private:
  struct State {
    std::atomic<int64_t> done{0}, total{0};
    std::atomic<bool> pending{false};
  };

  const JavaScriptFunction function_;
  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

// Reports to nobody where `callback` is no function.
inline Progress toProgress(const Napi::Value& callback, std::shared_ptr<JobChannel> channel) {
  if (!callback.IsFunction()) return [](int64_t, int64_t) {};
  const auto reporter = std::make_shared<ProgressReporter>(callback.As<Napi::Function>(), std::move(channel));
  return [reporter](int64_t done, int64_t total) { reporter->report(done, total); };
}

}  // namespace gradcam
