#pragma once

#include <string>

#include "core/process/torch.h"

namespace gradcam {

// Operators are registered process-wide, and two copies of the addon may be loaded (of two packages, say):
// the names of each copy are its own.
std::string operatorName(const char* name);
c10::Symbol operatorSymbol(const char* name);

}  // namespace gradcam
