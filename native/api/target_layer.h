#pragma once

#include <string>

#include "api/output_tree.h"

namespace gradcam {

// Which call counts where forward calls a layer more than once.
enum class CallKind { Last, All, Index };

struct TargetLayer {
  std::string path;
  CallKind call = CallKind::Last;
  int callIndex = 0;           // for CallKind::Index: 0 is the first call
  OutputSelector output = {};  // of a layer that gives several tensors the way to one; empty: what it gives
};

}  // namespace gradcam
