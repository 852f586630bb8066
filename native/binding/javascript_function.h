#pragma once

#include <napi.h>

#include <functional>
#include <memory>

#include "binding/job_channel.h"

namespace gradcam {

// A JavaScript function that a job may call from its executor. It goes the way of the jobs' own results, so
// that it ends with them; it is let go on the JavaScript thread, wherever its last owner is.
class JavaScriptFunction {
 public:
  JavaScriptFunction(const Napi::Function& function, std::shared_ptr<JobChannel> channel)
      : channel_(std::move(channel)), reference_(new Napi::FunctionReference(Napi::Persistent(function))) {}
  ~JavaScriptFunction() {
    // Where the environment has ended, the reference ended with it: then there is nothing to free it with.
    channel_->post([reference = reference_](Napi::Env) { delete reference; });
  }
  JavaScriptFunction(const JavaScriptFunction&) = delete;
  JavaScriptFunction& operator=(const JavaScriptFunction&) = delete;

  // Runs `use` with the function on the JavaScript thread, soon. False where the environment has ended.
  bool post(std::function<void(Napi::Env, const Napi::Function&)> use) const {
    return channel_->post([reference = reference_, use = std::move(use)](Napi::Env env) {
      const Napi::HandleScope scope(env);
      use(env, reference->Value());
    });
  }

 private:
  const std::shared_ptr<JobChannel> channel_;
  Napi::FunctionReference* const reference_;  // tasks are run in order: the one that deletes it is the last
};

}  // namespace gradcam
