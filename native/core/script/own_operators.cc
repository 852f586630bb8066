#include "core/script/own_operators.h"

#include <cstdint>

namespace gradcam {

std::string operatorName(const char* name) {
  static const char anchor = 0;
  static const std::string prefix =
      "gradcam_" + std::to_string(reinterpret_cast<std::uintptr_t>(&anchor)) + "::";
  return prefix + name;
}

c10::Symbol operatorSymbol(const char* name) {
  return c10::Symbol::fromQualString(operatorName(name));
}

}  // namespace gradcam
