#pragma once

#include <napi.h>

#include <memory>

#include "api/cancellation.h"
#include "api/targets.h"
#include "binding/job_channel.h"

namespace gradcam {

// The job that a request belongs to; target functions run in its environment and end with it.
struct JobContext {
  std::shared_ptr<JobChannel> channel;
  std::shared_ptr<Cancellation> cancellation;
};

TargetsPerImage toTargets(const Napi::Value& value, const JobContext& context);

}  // namespace gradcam
