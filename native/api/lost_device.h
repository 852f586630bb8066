#pragma once

#include <string>

#include "api/failure.h"

namespace gradcam {

// A failed assertion or access on a GPU ends the use of CUDA for the whole process: from then on every call
// fails. What happened first is remembered, and jobs are refused with it.
void rememberLostDevice(const std::string& how);
bool deviceIsLost();
// ERR_CUDA_FAILED with what was remembered.
Failure lostDeviceFailure();
void refuseLostDevice();

}  // namespace gradcam
