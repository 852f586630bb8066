#pragma once

#include <napi.h>

#include <memory>

#include "binding/job_channel.h"
#include "core/cancellation.h"
#include "core/targets.h"

namespace gradcam {

// The job that a request belongs to; target functions run in its environment and end with it.
struct JobContext {
  std::shared_ptr<JobChannel> channel;
  std::shared_ptr<Cancellation> cancellation;
};

TargetsPerImage toTargets(const Napi::Value& value, const JobContext& context);

}  // namespace gradcam
