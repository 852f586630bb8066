#include "core/plan/plan_run.h"

#include <sstream>

#include "api/failure.h"
#include "core/plan/derivatives.h"

namespace gradcam {
namespace {

std::string describeInputs(const ModelInputs& inputs) {
  std::ostringstream text;
  for (std::size_t index = 0; index < inputs.tensors.size(); ++index) {
    if (index > 0) text << ", ";
    text << inputs.tensors[index].sizes() << " " << inputs.tensors[index].dtype().name();
  }
  for (const auto& [name, value] : inputs.arguments) {
    std::ostringstream argument;
    argument << value;
    text << ", " << name << "=" << argument.str().substr(0, 60);
  }
  return text.str();
}

bool containsAny(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts) {
    if (text.find(part) != std::string::npos) return true;
  }
  return false;
}

// LibTorch reports wrong shapes and types in words only.
const char* forwardErrorCode(const std::string& message) {
  if (containsAny(message,
                  {"same dtype", "should be the same", "expected scalar type", "not implemented for '",
                   "to be of floating type", "have the same dtype", "must have the same dtype"})) {
    return "ERR_INPUT_DTYPE";
  }
  if (containsAny(message, {"channels, but got",
                            "cannot be multiplied",
                            "must match the size",
                            "Expected 3D",
                            "Expected 4D",
                            "Expected 5D",
                            "expected 2D",
                            "expected 3D",
                            "expected 4D",
                            "expected 5D",
                            "size mismatch",
                            "Kernel size can't be greater",
                            "list of 3d tensors",
                            "last two dimensions",
                            "is invalid for input of size",
                            "Output size is too small",
                            "must match the existing size",
                            "Sizes of tensors must match",
                            "same shape",
                            "non-zero",
                            "non-empty",
                            "Dimension out of range"})) {
    return "ERR_INPUT_SHAPE";
  }
  return "ERR_FORWARD";
}

template <typename Work>
auto namingFailures(const ModelInputs& inputs, const Work& work) {
  try {
    return work();
  } catch (const Failure&) {
    throw;
  } catch (...) {
    Failure failure = toFailure(std::current_exception(), "ERR_FORWARD");
    if (failure.code != "ERR_FORWARD") throw failure;
    const std::string message = torchMessage(std::current_exception());
    if (containsAny(message, {"is being modified inplace", "modified by an inplace operation"}))
      throwWritesInPlace(message);
    throw Failure(forwardErrorCode(message),
                  "The model's forward failed on the input " + describeInputs(inputs) + ": " + message);
  }
}

}  // namespace

c10::IValue runForward(const Plan& plan, const ModelInputs& inputs) {
  return namingFailures(inputs, [&] { return plan.runTail(plan.runPrefix(inputs)); });
}

torch::jit::Stack runPrefix(const Plan& plan, const ModelInputs& inputs) {
  return namingFailures(inputs, [&] { return plan.runPrefix(inputs); });
}

c10::IValue runTail(const Plan& plan, torch::jit::Stack crossing, const ModelInputs& inputs) {
  return namingFailures(inputs, [&] { return plan.runTail(std::move(crossing)); });
}

}  // namespace gradcam
