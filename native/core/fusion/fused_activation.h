#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/process/torch.h"

namespace gradcam {

// An elementwise function that oneDNN applies while it writes the result of a convolution or matrix product.
struct FusedActivation {
  std::string name = "none";  // as oneDNN's operators in ATen call it
  std::vector<std::optional<at::Scalar>> scalars;
  std::optional<std::string> algorithm;

  // What `node` computes of its first input; none where oneDNN has no such function.
  static std::optional<FusedActivation> of(const torch::jit::Node* node);

  c10::List<std::optional<at::Scalar>> scalarList() const;
  // By ATen's own operators.
  at::Tensor apply(const at::Tensor& x) const;
  // The same, of a tensor that nobody else has.
  at::Tensor applyInPlace(at::Tensor x) const;
};

// ATen's operators on oneDNN have no C++ functions; they are found and called by name. They have no
// derivative, and autograd does not see them.
std::optional<c10::OperatorHandle> findTorchOperator(const char* name, const char* overload = "");
at::Tensor callTorchOperator(const c10::OperatorHandle& op, torch::jit::Stack arguments);

}  // namespace gradcam
