#pragma once

#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

namespace gradcam {

// What went wrong, in the form that reaches JavaScript as a GradCamError. The codes are listed in
// lib/errors/errors.ts.
class Failure : public std::runtime_error {
 public:
  Failure(std::string errorCode, std::string words)
      : std::runtime_error(words), code(std::move(errorCode)), message(std::move(words)) {}

  Failure& withLayer(std::string layerPath) {
    layer = std::move(layerPath);
    return *this;
  }
  Failure& withPath(std::string file) {
    path = std::move(file);
    return *this;
  }
  Failure& withAvailable(std::vector<std::string> names) {
    available = std::move(names);
    return *this;
  }

  std::string code;
  std::string message;  // whole, where what() ends at a NUL of a name
  std::string layer;
  std::string path;
  std::vector<std::string> available;
};

// The exception as a Failure: ours as it is, LibTorch's without its C++ backtrace, out of memory recognised,
// anything else under `fallbackCode`.
Failure toFailure(std::exception_ptr exception, const char* fallbackCode = "ERR_INTERNAL");

// "a, b, c"
std::string joined(const std::vector<std::string>& words);

// LibTorch's own sentence, without the interpreter's traceback and the C++ backtrace around it.
std::string torchMessage(std::exception_ptr exception);

}  // namespace gradcam
