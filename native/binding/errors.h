#pragma once

#include <napi.h>

#include <functional>

#include "api/failure.h"

namespace gradcam {

// A JavaScript Error carrying `gradcamCode` and `details`, from which lib/addon/addon.ts makes a
// GradCamError.
Napi::Error toJsError(Napi::Env env, const Failure& failure);

// Runs a synchronous function of the module: whatever it throws becomes a JavaScript exception.
Napi::Value guarded(Napi::Env env, const std::function<Napi::Value()>& body);

}  // namespace gradcam
