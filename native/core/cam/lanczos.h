#pragma once

#include <functional>

#include "core/process/torch.h"

namespace gradcam {

// Of a real symmetric matrix the largest eigenvalue (not the largest in magnitude), and its eigenvector.
struct Eigenpair {
  double value;
  at::Tensor vector;  // [n], float64, of length 1; its sign is open
};

// The largest eigenpair by Lanczos' method with full reorthogonalisation, to about float64's accuracy (as
// scikit-learn's KernelPCA takes it from ARPACK). The matrix is only multiplied with: `multiply` gives for a
// vector [n], float64 on `device`, its product. Of a matrix that is zero the value is 0 and the vector zeros.
// Takes a few dozen products, and n at most; between them it looks at the job's cancellation. Throws
// ERR_NOT_FINITE where the matrix is not finite.
Eigenpair largestEigenpair(int64_t n,
                           at::Device device,
                           const std::function<at::Tensor(const at::Tensor& vector)>& multiply);

}  // namespace gradcam
