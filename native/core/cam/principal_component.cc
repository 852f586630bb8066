#include "core/cam/principal_component.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>

#include "api/cancellation.h"
#include "api/failure.h"
#include "core/cam/lanczos.h"

namespace gradcam {
namespace {

// Of so small a matrix all eigenvectors at once are as fast as the one that is wanted.
constexpr int64_t kMostDense = 100;
// Half of the symmetric kernel of so many places is 1 GiB: of a map of 128 x 128.
constexpr int64_t kMostKernelPlaces = 128 * 128;
// Multiplications between two looks at the cancellation: a fraction of a second.
constexpr int64_t kMultiplicationsAtOnce = int64_t{1} << 31;

// [B, C, ...space] -> [B, places, C], each channel minus its mean over the places.
at::Tensor centredPlaces(const at::Tensor& activations) {
  const at::Tensor places = at::nan_to_num(activations.to(at::kDouble), 0.0).flatten(2).transpose(1, 2);
  return places - places.mean(1, /*keepdim=*/true);
}

at::Tensor withLargestPositive(const at::Tensor& projections) {
  const at::Tensor largest = projections.gather(1, projections.abs().argmax(1, /*keepdim=*/true));
  return projections * at::where(largest < 0, -1.0, 1.0);
}

at::Tensor likeMaps(const at::Tensor& projections, const at::Tensor& activations) {
  return withLargestPositive(projections).view_as(activations.select(1, 0)).to(activations.scalar_type());
}

// Of symmetric matrices [B, n, n] the largest eigenvalue [B, 1] and its eigenvector [B, n].
std::pair<at::Tensor, at::Tensor> topEigenpair(const at::Tensor& matrices) {
  const auto [values, vectors] = at::linalg_eigh(matrices);
  return {values.select(1, -1).unsqueeze(1), vectors.select(2, -1)};
}

at::Tensor scaled(const Eigenpair& pair) {
  return pair.vector * std::sqrt(std::max(pair.value, 0.0));
}

// [B, places, C] -> [B, places], each image for itself.
at::Tensor ofEach(const at::Tensor& places, at::Tensor (*project)(const at::Tensor& placesOfImage)) {
  std::vector<at::Tensor> projections;
  for (const at::Tensor& ofImage : places.unbind()) projections.push_back(project(ofImage));
  return at::stack(projections);
}

// With X = U S V', the projection X v1 is u1 s1, and X X' = U S^2 U'.
at::Tensor projection(const at::Tensor& places) {
  const bool byChannels = places.size(0) > places.size(1);
  const at::Tensor factors = byChannels ? places.t() : places;
  const Eigenpair pair = largestEigenpair(factors.size(0), factors.device(), [&](const at::Tensor& vector) {
    return factors.mv(factors.t().mv(vector));
  });
  return byChannels ? places.mv(pair.vector) : scaled(pair);
}

// The kernel of the places of an image [n, C], of which only one triangle is kept, as strips of rows.
class SigmoidKernel {
 public:
  explicit SigmoidKernel(const at::Tensor& places) {
    const int64_t size = places.size(0), channels = places.size(1);
    const int64_t rows = std::max<int64_t>(1, kMultiplicationsAtOnce / (size * channels));
    for (int64_t first = 0; first < size; first += rows) {
      throwIfCancelled();
      const int64_t last = std::min(first + rows, size);
      strips_.push_back(at::mm(places.slice(0, first, last), places.slice(0, first).t())
                            .div_(static_cast<double>(channels))
                            .add_(1.0)
                            .tanh_());
    }
  }

  // (I - 11'/n) K (I - 11'/n) vector
  at::Tensor multiplyCentred(const at::Tensor& vector) const {
    const at::Tensor centred = vector - vector.mean();
    const at::Tensor product = at::zeros_like(centred);
    int64_t first = 0;
    for (const at::Tensor& strip : strips_) {
      throwIfCancelled();
      const int64_t last = first + strip.size(0);
      product.slice(0, first, last).add_(strip.mv(centred.slice(0, first)));
      // The mirror image of what the strip holds behind its square.
      const at::Tensor behind = strip.slice(1, last - first);
      product.slice(0, last).add_(behind.t().mv(centred.slice(0, first, last)));
      first = last;
    }
    return product - product.mean();
  }

 private:
  std::vector<at::Tensor> strips_;  // [rows, n - first row]
};

at::Tensor kernelProjection(const at::Tensor& places) {
  const SigmoidKernel kernel(places);
  return scaled(largestEigenpair(places.size(0), places.device(),
                                 [&](const at::Tensor& vector) { return kernel.multiplyCentred(vector); }));
}

void checkKernelFits(const at::Tensor& activations, int64_t places) {
  if (places <= kMostKernelPlaces) return;
  const auto gibibytes = [](int64_t n) {
    return static_cast<double>(n) * static_cast<double>(n) / 2 * sizeof(double) /
           static_cast<double>(int64_t{1} << 30);
  };
  std::ostringstream message;
  message
      << std::fixed << std::setprecision(1)
      << "KPCACAM compares each place of a layer with each other. This one gives "
      << activations.sizes().slice(1) << ", " << places << " places, which would take " << gibibytes(places)
      << " GiB; " << kMostKernelPlaces << " places (" << gibibytes(kMostKernelPlaces)
      << " GiB) are the most. Choose a later layer, a smaller input, or EigenCAM, whose memory grows with "
         "the layer only.";
  throw Failure("ERR_TOO_LARGE", message.str());
}

}  // namespace

at::Tensor firstPrincipalProjection(const at::Tensor& activations) {
  const at::Tensor places = centredPlaces(activations);  // X, [B, n, C]
  if (std::min(places.size(1), places.size(2)) > kMostDense)
    return likeMaps(ofEach(places, projection), activations);
  if (places.size(1) <= places.size(2)) {
    const auto [value, vector] = topEigenpair(at::bmm(places, places.transpose(1, 2)));
    return likeMaps(vector * value.clamp_min(0).sqrt(), activations);
  }
  const auto [value, vector] = topEigenpair(at::bmm(places.transpose(1, 2), places));
  return likeMaps(at::bmm(places, vector.unsqueeze(2)).squeeze(2), activations);
}

at::Tensor firstKernelPrincipalProjection(const at::Tensor& activations) {
  checkKernelFits(activations, activations.select(1, 0)[0].numel());
  const at::Tensor places = centredPlaces(activations);
  if (places.size(1) > kMostDense) return likeMaps(ofEach(places, kernelProjection), activations);
  const double gamma = 1.0 / static_cast<double>(places.size(2));
  const at::Tensor kernel = at::tanh(gamma * at::bmm(places, places.transpose(1, 2)) + 1.0);
  const at::Tensor means = kernel.mean(1, /*keepdim=*/true);
  const at::Tensor centred = kernel - means - means.transpose(1, 2) + means.mean(2, /*keepdim=*/true);
  const auto [value, vector] = topEigenpair(centred);
  return likeMaps(vector * value.clamp_min(0).sqrt(), activations);
}

}  // namespace gradcam
