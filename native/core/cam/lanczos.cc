#include "core/cam/lanczos.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "api/cancellation.h"
#include "api/failure.h"

namespace gradcam {
namespace {

// How far the vector may be from the eigenvector, by the residual and the distance to the next eigenvalue.
constexpr double kTolerance = 1e-10;

// The projection of the matrix on the space that its powers make of the first vector: a tridiagonal matrix.
class Tridiagonal {
 public:
  void add(double diagonal, double beside) {
    diagonal_.push_back(diagonal);
    beside_.push_back(beside);
    const double before = beside_.size() > 1 ? beside_[beside_.size() - 2] : 0;
    norm_ = std::max(norm_, std::abs(diagonal) + beside + before);
  }

  double norm() const { return norm_; }

  // The largest eigenvalue, its distance to the next, and its eigenvector.
  struct Largest {
    double value, gap;
    at::Tensor vector;
  };
  Largest largest() const {
    const auto size = static_cast<int64_t>(diagonal_.size());
    at::Tensor matrix = at::tensor(diagonal_, at::kDouble).diag();
    if (size > 1) {
      const std::vector<double> inside(beside_.begin(), beside_.end() - 1);
      matrix = matrix + at::tensor(inside, at::kDouble).diag(-1);  // the lower triangle is what is read
    }
    const auto [values, vectors] = at::linalg_eigh(matrix);
    const double value = values[-1].item<double>();
    const double gap = size > 1 ? value - values[-2].item<double>() : 0;
    return {value, gap, vectors.select(1, -1).contiguous()};
  }

 private:
  std::vector<double> diagonal_, beside_;
  double norm_ = 0;
};

}  // namespace

Eigenpair largestEigenpair(int64_t n,
                           at::Device device,
                           const std::function<at::Tensor(const at::Tensor& vector)>& multiply) {
  // Chance, and always the same, so that no symmetry of an image makes it miss the eigenvector.
  auto generator = at::make_generator<at::CPUGeneratorImpl>(uint64_t{0});
  at::Tensor next = multiply((at::rand({n}, generator, at::kDouble) * 2 - 1).to(device));
  double length = next.norm().item<double>();
  const auto finite = [](double number) {
    if (std::isfinite(number)) return number;
    throw Failure("ERR_NOT_FINITE",
                  "The layer's values are infinite or too large for a principal component to be taken.");
  };
  if (finite(length) == 0) return {0, at::zeros_like(next)};

  Tridiagonal projection;
  at::Tensor basis = at::empty({std::min<int64_t>(n, 32), n}, next.options());
  for (int64_t step = 0, check = 4;; ++step) {
    throwIfCancelled();
    if (step == basis.size(0)) basis = at::cat({basis, at::zeros_like(basis)}).slice(0, 0, n);
    basis[step].copy_(next.div_(length));
    next = multiply(basis[step]);
    const double diagonal = finite(basis[step].dot(next).item<double>());
    const at::Tensor known = basis.slice(0, 0, step + 1);
    for (int round = 0; round < 2; ++round) next = next - known.t().mv(known.mv(next));
    length = finite(next.norm().item<double>());
    projection.add(diagonal, length);

    const double noise = 16 * std::numeric_limits<double>::epsilon() * projection.norm();
    const bool complete = step + 1 == n || length <= noise;
    if (!complete && step + 1 < check) continue;
    check = step + 1 + std::max<int64_t>(4, step / 4);
    const auto largest = projection.largest();
    const double residual = length * std::abs(largest.vector[step].item<double>());
    if (complete || residual <= std::max(noise, kTolerance * largest.gap))
      return {largest.value, known.t().mv(largest.vector.to(device))};
  }
}

}  // namespace gradcam
