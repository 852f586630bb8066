#pragma once

#include <string>

#include "api/output_tree.h"

namespace gradcam {

// Which call counts where forward calls a layer more than once.
struct CallChoice {
  enum class Kind { Last, All, Index } kind = Kind::Last;
  int index = 0;  // for Kind::Index: 0 is the first call
};

struct HookedLayer {
  std::string path;
  CallChoice call;
  bool optional = false;       // may sit in a branch that the input does not take
  OutputSelector output = {};  // of a layer that gives several tensors the way to one; empty: what it gives
};

}  // namespace gradcam
