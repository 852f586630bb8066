#pragma once

#include <cstdint>
#include <functional>

namespace gradcam {

// Tells how much of long work is done; called on the thread that does it.
using Progress = std::function<void(int64_t done, int64_t total)>;

}  // namespace gradcam
