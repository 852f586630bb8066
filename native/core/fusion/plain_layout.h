#pragma once

#include <memory>

#include "core/process/torch.h"

namespace gradcam {

// Fused convolutions give tensors in channels-last order, and what follows keeps it. `view`, `as_strided`,
// `stride`, `is_contiguous` and their like see that order, and fail or take another way than in the model as
// it was written.
//
// Puts a `plain_layout` (Tensor -> Tensor: the same values, in rows) in front of each such operation, of
// operators that are not LibTorch's, and of what the model returns, where a fused convolution may have
// changed the order; behind the convolution where a copy would no longer be the tensor that is written to.
// For frozen graphs that are not fused yet.
//
// False where the order that the model itself would use cannot be told, and an operation sees it: then no
// convolution may be fused.
bool restorePlainLayouts(std::shared_ptr<torch::jit::Graph>& graph);

const c10::Symbol& plainLayoutSymbol();

}  // namespace gradcam
