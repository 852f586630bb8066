#pragma once

#include "core/plan/plan.h"

namespace gradcam {

// Runs a plan, or a part of one, and names what went wrong as a user's mistake where that can be told.
c10::IValue runForward(const Plan& plan, const ModelInputs& inputs);
torch::jit::Stack runPrefix(const Plan& plan, const ModelInputs& inputs);
// `inputs` are what `crossing` was made of.
c10::IValue runTail(const Plan& plan, torch::jit::Stack crossing, const ModelInputs& inputs);

}  // namespace gradcam
