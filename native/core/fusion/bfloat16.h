#pragma once

#include <memory>

#include "core/process/torch.h"

namespace gradcam {

// Whether this processor, as oneDNN may use it, has bfloat16 arithmetic (AVX512-BF16, which processors with
// AMX have, too).
bool hasBFloat16();

// Makes a graph without gradients ready to have its convolutions and linear layers in bfloat16. Convolutions
// give bfloat16 then, which what follows takes as far as it is known to; everything else, and what leaves the
// graph, is given float32, which linear layers give. False, and the graph is as it was, where there are none,
// or something writes to such a result.
bool prepareForBFloat16(const std::shared_ptr<torch::jit::Graph>& graph, bool mayFuseConvolutions);

}  // namespace gradcam
