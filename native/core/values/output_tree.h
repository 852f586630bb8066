#pragma once

#include <optional>
#include "api/output_tree.h"
#include "core/process/torch.h"

namespace gradcam {

// Detached, on the CPU.
OutputTree toOutputTree(const c10::IValue& output);

// What `selector` leads to, float16 and bfloat16 made float32 in a way that autograd knows, so that scores
// are computed in full precision; an empty selector leads to the output itself. Throws ERR_OUTPUT_SELECTOR.
c10::IValue selectValue(const c10::IValue& output, const OutputSelector& selector);

// The tensor that `selector` leads to; an empty selector asks for an output that is one tensor.
// Throws ERR_OUTPUT_SELECTOR with the choices there are.
at::Tensor selectOutput(const c10::IValue& output, const OutputSelector& selector);

// What `selector` leads to; none where there is no such entry.
std::optional<c10::IValue> valueAt(const c10::IValue& output, const OutputSelector& selector);

// The same output with another value at the end of `selector`, which leads somewhere.
c10::IValue withValueAt(const c10::IValue& output, const OutputSelector& selector, const c10::IValue& value);

// All tensors in a value, however deep, in order.
struct TensorAt {
  OutputSelector selector;
  at::Tensor tensor;
};
std::vector<TensorAt> tensorsIn(const c10::IValue& value);

// "0: [1, 16, 8], 1: [1, 16, 16]"
std::string describeTensors(const std::vector<TensorAt>& tensors);

}  // namespace gradcam
