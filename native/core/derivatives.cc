#include "core/derivatives.h"

#include <exception>
#include <optional>
#include <string>

#include "core/failure.h"

namespace gradcam {
namespace {

std::string cure() {
  return std::string(kMethodsWithoutGradients) + "; or choose a layer behind that operation.";
}

std::optional<std::string> operatorWithoutDerivative(const std::string& message) {
  const std::string before = "derivative for ";
  const auto start = message.find(before);
  if (start == std::string::npos || message.find("is not implemented") == std::string::npos)
    return std::nullopt;
  const auto first = start + before.size();
  return message.substr(first, message.find(' ', first) - first);
}

[[noreturn]] void throwUndifferentiable(const std::string& message, bool secondDerivative) {
  if (const auto name = operatorWithoutDerivative(message)) {
    throw Failure("ERR_UNSUPPORTED", std::string("This method needs a ") +
                                         (secondDerivative ? "second " : "") + "derivative of " + *name +
                                         ", which LibTorch does not have. " +
                                         (secondDerivative ? "GradCAM needs only the first." : cure()))
        .withAvailable({*name});
  }
  if (message.find("inplace operation") != std::string::npos ||
      message.find("in-place") != std::string::npos) {
    throw Failure("ERR_UNSUPPORTED",
                  "The model writes in place into a tensor that the gradient needs, behind the layer, and "
                  "that write could not be taken out of its graph. " +
                      cure() + " LibTorch says: " + message);
  }
  throw Failure("ERR_INTERNAL", message);
}

}  // namespace

std::vector<at::Tensor> derivatives(const at::Tensor& output,
                                    const std::vector<at::Tensor>& inputs,
                                    bool retainGraph,
                                    bool createGraph,
                                    std::vector<at::Tensor> gradientOfOutput) {
  const bool second = !gradientOfOutput.empty();
  try {
    return torch::autograd::grad({output}, inputs, gradientOfOutput, retainGraph, createGraph,
                                 /*allow_unused=*/true);
  } catch (const Failure&) {
    throw;
  } catch (...) {
    const Failure failure = toFailure(std::current_exception());
    if (failure.code != "ERR_INTERNAL") throw failure;
    throwUndifferentiable(failure.what(), second);
  }
}

}  // namespace gradcam
