#include "core/cam/principal_component.h"

namespace gradcam {
namespace {

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

}  // namespace

at::Tensor firstPrincipalProjection(const at::Tensor& activations) {
  const at::Tensor places = centredPlaces(activations);  // X, [B, n, C]
  if (places.size(1) <= places.size(2)) {
    // With X = U S V', the projection X v1 is u1 s1, and X X' = U S^2 U'.
    const auto [value, vector] = topEigenpair(at::bmm(places, places.transpose(1, 2)));
    return likeMaps(vector * value.clamp_min(0).sqrt(), activations);
  }
  const auto [value, vector] = topEigenpair(at::bmm(places.transpose(1, 2), places));
  return likeMaps(at::bmm(places, vector.unsqueeze(2)).squeeze(2), activations);
}

at::Tensor firstKernelPrincipalProjection(const at::Tensor& activations) {
  const at::Tensor places = centredPlaces(activations);
  const double gamma = 1.0 / static_cast<double>(places.size(2));
  const at::Tensor kernel = at::tanh(gamma * at::bmm(places, places.transpose(1, 2)) + 1.0);
  const at::Tensor means = kernel.mean(1, /*keepdim=*/true);
  const at::Tensor centred = kernel - means - means.transpose(1, 2) + means.mean(2, /*keepdim=*/true);
  const auto [value, vector] = topEigenpair(centred);
  return likeMaps(vector * value.clamp_min(0).sqrt(), activations);
}

}  // namespace gradcam
