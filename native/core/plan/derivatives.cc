#include "core/plan/derivatives.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>
#include <optional>
#include <string>

#include "api/failure.h"
#include "core/values/tensor_types.h"

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
    throwWritesInPlace(message);
  }
  throw Failure("ERR_INTERNAL", message);
}

std::vector<at::Tensor> unscaled(std::vector<at::Tensor> gradients, double scale) {
  for (at::Tensor& gradient : gradients) {
    if (!gradient.defined()) continue;
    gradient = inFullPrecision(gradient);
    if (scale != 1) gradient = gradient / scale;
  }
  return gradients;
}

double largestOf(const std::vector<at::Tensor>& gradients) {
  double largest = 0;
  for (const at::Tensor& gradient : gradients) {
    if (!gradient.defined() || gradient.numel() == 0) continue;
    const double ofThis = gradient.detach().abs().max().to(at::kFloat).item<double>();
    if (!std::isfinite(ofThis)) return std::numeric_limits<double>::infinity();
    largest = std::max(largest, ofThis);
  }
  return largest;
}

// float16 has no numbers between 0 and 6e-8, and few digits below 6e-5: the loss is made so large that
// gradients lie in the middle of its range, and what comes out is made as small again.
constexpr double kFirstScale = 1024, kLeastGradient = 1.0 / 16, kWantedGradient = 64;

template <typename Walk>
std::vector<at::Tensor> scaledDerivatives(const Walk& walk) {
  double scale = kFirstScale;
  std::vector<at::Tensor> gradients = walk(scale);
  double largest = largestOf(gradients);
  for (int attempt = 0; std::isinf(largest) && attempt < 3; ++attempt) {
    scale /= 256;
    gradients = walk(scale);
    largest = largestOf(gradients);
  }
  if (largest > 0 && largest < kLeastGradient) {
    const double larger = scale * std::exp2(std::floor(std::log2(kWantedGradient / largest)));
    const std::vector<at::Tensor> finer = walk(larger);
    // What lies between may not bear it.
    if (!std::isinf(largestOf(finer))) return unscaled(finer, larger);
  }
  return unscaled(std::move(gradients), scale);
}

}  // namespace

void throwWritesInPlace(const std::string& message) {
  throw Failure("ERR_UNSUPPORTED",
                "The model writes in place into a tensor that the gradient needs, behind the layer, and "
                "that write could not be taken out of its graph. " +
                    cure() + " LibTorch says: " + message);
}

std::vector<at::Tensor> derivatives(const at::Tensor& output,
                                    const std::vector<at::Tensor>& inputs,
                                    bool retainGraph,
                                    bool createGraph,
                                    std::vector<at::Tensor> gradientOfOutput) {
  const bool second = !gradientOfOutput.empty();
  const bool scaled = !second && std::any_of(inputs.begin(), inputs.end(), [](const at::Tensor& input) {
    return input.scalar_type() == at::kHalf;
  });
  const at::AutoGradMode record(true);
  const auto walk = [&](double scale) {
    return torch::autograd::grad({scale == 1 ? output : output * scale}, inputs, gradientOfOutput,
                                 retainGraph || scaled, createGraph, /*allow_unused=*/true);
  };
  try {
    if (scaled) return scaledDerivatives(walk);
    return unscaled(walk(1), 1);
  } catch (const Failure&) {
    throw;
  } catch (...) {
    const Failure failure = toFailure(std::current_exception());
    if (failure.code != "ERR_INTERNAL") throw failure;
    throwUndifferentiable(failure.what(), second);
  }
}

}  // namespace gradcam
