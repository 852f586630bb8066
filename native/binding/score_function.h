#pragma once

#include <napi.h>

#include <functional>
#include <memory>

#include "api/cancellation.h"
#include "api/tensor_handle.h"
#include "binding/job_channel.h"

namespace gradcam {

// A JavaScript target function as executors call it: the executor waits while the JavaScript thread builds
// the score of one image's output. The wait ends with the job's cancellation, so that an environment that
// ends, or an aborted call, leaves no executor behind.
std::function<TensorHandle(const TensorHandle&)> toScoreFunction(
    const Napi::Function& function,
    std::shared_ptr<JobChannel> channel,
    std::shared_ptr<const Cancellation> cancellation);

}  // namespace gradcam
