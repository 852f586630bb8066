#pragma once

#include <napi.h>

#include <memory>

#include "binding/job_channel.h"

namespace gradcam {

// Each starts a job and returns its promise; see lib/addon/types.ts for the arguments.
Napi::Value startLoadModel(const Napi::CallbackInfo& info, JobChannel& channel);
Napi::Value startConvertModel(const Napi::CallbackInfo& info, JobChannel& channel);
Napi::Value startLoadTarget(const Napi::CallbackInfo& info, JobChannel& channel);
Napi::Value startForward(const Napi::CallbackInfo& info, JobChannel& channel);
Napi::Value startInspect(const Napi::CallbackInfo& info, JobChannel& channel);
Napi::Value startDescribePlan(const Napi::CallbackInfo& info, JobChannel& channel);
Napi::Value startWarmUp(const Napi::CallbackInfo& info, JobChannel& channel);
Napi::Value startAttribution(const Napi::CallbackInfo& info, JobChannel& channel);
Napi::Value startPerturbedScores(const Napi::CallbackInfo& info, JobChannel& channel);
Napi::Value startFactorize(const Napi::CallbackInfo& info, JobChannel& channel);
Napi::Value startExplain(const Napi::CallbackInfo& info, JobChannel& channel);
Napi::Value modelWeight(const Napi::CallbackInfo& info);  // (model, name) -> NativeTensor or null
Napi::Value modelStatistics(const Napi::CallbackInfo& info);
Napi::Value modelWarnings(const Napi::CallbackInfo& info);
Napi::Value disposeModel(const Napi::CallbackInfo& info);

}  // namespace gradcam
