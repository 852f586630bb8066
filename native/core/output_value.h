#pragma once

#include "core/output.h"
#include "core/torch.h"

namespace gradcam {

// Detached, on the CPU.
OutputTree toOutputTree(const c10::IValue& output);

// What `selector` leads to, float16 and bfloat16 made float32 in a way that autograd knows, so that scores
// are computed in full precision; an empty selector leads to the output itself. Throws ERR_OUTPUT_SELECTOR.
c10::IValue selectValue(const c10::IValue& output, const OutputSelector& selector);

// The tensor that `selector` leads to; an empty selector asks for an output that is one tensor.
// Throws ERR_OUTPUT_SELECTOR with the choices there are.
at::Tensor selectOutput(const c10::IValue& output, const OutputSelector& selector);

}  // namespace gradcam
