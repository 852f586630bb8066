#pragma once

#include <cstdint>

#include "core/process/torch.h"

namespace gradcam {

// Runs `part` of the steps 0..count, of so many `numbers` each, on LibTorch's threads where that is worth it.
// at::parallel_for takes threads only where its caller is compiled with OpenMP, which is to be LibTorch's: a
// second one would have threads of its own.
void parallelLoop(int64_t count, int64_t numbers, c10::function_ref<void(int64_t begin, int64_t end)> part);

}  // namespace gradcam
