#pragma once

#include "core/output.h"
#include "core/torch.h"

namespace gradcam {

// Detached, on the CPU.
OutputTree toOutputTree(const c10::IValue& output);

// The tensor that `selector` leads to; an empty selector asks for an output that is one tensor.
// Throws ERR_OUTPUT_SELECTOR with the choices there are.
at::Tensor selectOutput(const c10::IValue& output, const OutputSelector& selector);

}  // namespace gradcam
