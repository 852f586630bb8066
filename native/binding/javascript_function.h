#pragma once

#include <napi.h>

#include <functional>
#include <memory>

#include "binding/job_channel.h"

namespace gradcam {

// A JavaScript function that a job may call from its executor. It goes the way of the jobs' own results, so
// that it ends with them; it is let go on the JavaScript thread, wherever its last owner is.
class JavaScriptFunction : public Counted<JavaScriptFunction> {
 public:
  JavaScriptFunction(const Napi::Function& function, std::shared_ptr<JobChannel> channel)
      : channel_(std::move(channel)), function_(channel_->keep(function)) {}
  ~JavaScriptFunction() { channel_->letGo(function_); }
  JavaScriptFunction(const JavaScriptFunction&) = delete;
  JavaScriptFunction& operator=(const JavaScriptFunction&) = delete;

  // Runs `use` with the function on the JavaScript thread, soon. False where the environment has ended.
  bool post(std::function<void(Napi::Env, const Napi::Function&)> use) const {
    return channel_->postWith(function_, std::move(use));
  }

 private:
  const std::shared_ptr<JobChannel> channel_;
  const std::size_t function_;
};

}  // namespace gradcam
