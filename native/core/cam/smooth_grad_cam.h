#pragma once

#include <optional>

#include "core/cam/perturbed_runs.h"
#include "core/plan/activations_and_gradients.h"

namespace gradcam {

struct SmoothGradSettings {
  int64_t samples = 4;
  double deviation = 0.3;  // of the noise, in units of the (normalised) input
  int64_t seed = 0;
  std::optional<at::Tensor> noise;  // [samples, B, ...] instead
};

// Smooth Grad-CAM++ (Omeiza et al. 2019): Grad-CAM++ with the powers of the gradient averaged over noisy
// copies of the input, on the activations of the input itself. `activations` are those of each layer, [B, C,
// ...space]. -> of each layer the raw maps of the targets, [N, ...space].
std::vector<at::Tensor> smoothGradCamPlusPlus(const PerturbedRuns& runs,
                                              const std::vector<at::Tensor>& activations,
                                              const std::vector<ResolvedTarget>& targets,
                                              const SmoothGradSettings& settings);

}  // namespace gradcam
