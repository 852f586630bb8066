#pragma once

#include <string>

namespace gradcam {

// Which call counts where forward calls a layer more than once.
struct CallChoice {
  enum class Kind { Last, All, Index } kind = Kind::Last;
  int index = 0;  // for Kind::Index: 0 is the first call
};

struct HookedLayer {
  std::string path;
  CallChoice call;
  bool optional = false;  // may sit in a branch that the input does not take
};

}  // namespace gradcam
