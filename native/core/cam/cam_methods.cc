// The methods that one forward and one walk back give, each as its formula. A is the activations, G the
// gradients, both [B, C, ...space]; sums and means over "space" keep B and C. A new one is a function and a
// row of the table.
#include <algorithm>

#include "core/cam/cam_method.h"
#include "core/cam/principal_component.h"
#include "core/values/image_axes.h"

namespace gradcam {
namespace {

at::Tensor sumOverSpace(const at::Tensor& x) {
  return x.flatten(2).sum(2);
}

at::Tensor meanOverSpace(const at::Tensor& x) {
  return x.flatten(2).mean(2);
}

// Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2): each channel weighted by the mean of its gradient.
at::Tensor gradCam(const MethodInput& in, const MethodSettings&) {
  return asFactorsOf(in.activations, meanOverSpace(in.gradients)) * in.activations;
}

// HiResCAM (Draelos and Carin 2020, eq. 4): gradient times activation at each place.
at::Tensor hiResCam(const MethodInput& in, const MethodSettings&) {
  return in.gradients * in.activations;
}

// pytorch-grad-cam's GradCAMElementWise: as HiResCAM, with what speaks against the target left out.
at::Tensor gradCamElementWise(const MethodInput& in, const MethodSettings&) {
  return (in.gradients * in.activations).relu();
}

// Grad-CAM++ (Chattopadhay et al. 2018, eq. 10 and 19), with pytorch-grad-cam's closed form of the
// coefficients.
at::Tensor gradCamPlusPlus(const MethodInput& in, const MethodSettings&) {
  const at::Tensor& g = in.gradients;
  const at::Tensor g2 = g * g;
  const at::Tensor sums = asFactorsOf(in.activations, sumOverSpace(in.activations));
  at::Tensor alpha = g2 / (2 * g2 + sums * (g2 * g) + 1e-6);
  alpha = at::where(g == 0, at::zeros_like(alpha), alpha);
  return asFactorsOf(in.activations, sumOverSpace(g.relu() * alpha)) * in.activations;
}

// XGrad-CAM (Fu et al. 2020, eq. 7): the gradient's mean, each place weighted by its share of the activation.
at::Tensor xGradCam(const MethodInput& in, const MethodSettings&) {
  const at::Tensor sums = sumOverSpace(in.activations) + 1e-7;
  const at::Tensor weights = sumOverSpace(in.gradients * in.activations / asFactorsOf(in.activations, sums));
  return asFactorsOf(in.activations, weights) * in.activations;
}

// LayerCAM (Jiang et al. 2021, eq. 6): each place weighted by its own positive gradient.
at::Tensor layerCam(const MethodInput& in, const MethodSettings&) {
  return in.gradients.relu() * in.activations;
}

// ShapleyCAM (Cai 2025): the gradient minus half of the Hessian times the activation, averaged over space.
at::Tensor shapleyCam(const MethodInput& in, const MethodSettings&) {
  const at::Tensor weights = meanOverSpace(in.gradients - 0.5 * in.hessianTimesActivations);
  return asFactorsOf(in.activations, weights) * in.activations;
}

// Channels weighted by chance, evenly between -1 and 1: what every other method has to beat.
at::Tensor randomCam(const MethodInput& in, const MethodSettings& settings) {
  const at::Tensor& a = in.activations;
  auto generator = at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(settings.seed));
  // The same for every image, so that a map does not depend on the image's place in the batch.
  const at::Tensor weights = at::rand({1, a.size(1)}, generator, at::kDouble) * 2 - 1;
  return asFactorsOf(a, weights.to(a.device(), a.scalar_type())) * a;
}

// Eigen-CAM (Muhammad and Yeasin 2020): the activations, projected on their first principal component.
at::Tensor unweighted(const MethodInput& in, const MethodSettings&) {
  return in.activations;
}

// pytorch-grad-cam's SegEigenCAM: the activation times the gradient's magnitude, projected.
at::Tensor segEigenCam(const MethodInput& in, const MethodSettings&) {
  return in.gradients.abs() * in.activations;
}

// KPCA-CAM (Karmani et al. 2024): the activations on their first kernel principal component.
at::Tensor kpcaCam(const MethodInput& in, const MethodSettings&) {
  return firstKernelPrincipalProjection(in.activations);
}

// FEM (Fuad et al. 2020, eq. 1 to 3): each channel weighted by the share of places where it is unusually
// strong.
at::Tensor fem(const MethodInput& in, const MethodSettings& settings) {
  const at::Tensor& a = in.activations;
  const at::Tensor flat = a.flatten(2);
  const at::Tensor threshold = flat.mean(2) + settings.femDeviations * flat.std(2, /*unbiased=*/false);
  const at::Tensor strong = (a > asFactorsOf(a, threshold)).to(a.scalar_type());
  return (asFactorsOf(a, meanOverSpace(strong)) * a).sum(1);
}

using Needs = CamMethod::Needs;
constexpr CamMethod kMethods[] = {
    {"GradCAM", Needs::Gradients, gradCam, nullptr},
    {"HiResCAM", Needs::Gradients, hiResCam, nullptr},
    {"GradCAMElementWise", Needs::Gradients, gradCamElementWise, nullptr},
    {"GradCAMPlusPlus", Needs::Gradients, gradCamPlusPlus, nullptr},
    {"XGradCAM", Needs::Gradients, xGradCam, nullptr},
    {"LayerCAM", Needs::Gradients, layerCam, nullptr},
    {"ShapleyCAM", Needs::SecondDerivatives, shapleyCam, nullptr},
    {"RandomCAM", Needs::Activations, randomCam, nullptr},
    {"EigenCAM", Needs::Activations, unweighted, nullptr, /*projected=*/true},
    // As HiResCAM, projected.
    {"EigenGradCAM", Needs::Gradients, hiResCam, nullptr, /*projected=*/true},
    {"SegEigenCAM", Needs::Gradients, segEigenCam, nullptr, /*projected=*/true},
    {"KPCACAM", Needs::Activations, nullptr, kpcaCam},
    {"FEM", Needs::Activations, nullptr, fem},
};

}  // namespace

const CamMethod* findCamMethod(const std::string& name) {
  const auto* found = std::find_if(std::begin(kMethods), std::end(kMethods),
                                   [&](const CamMethod& method) { return method.name == name; });
  return found == std::end(kMethods) ? nullptr : found;
}

at::Tensor sumChannels(const at::Tensor& weightedActivations, bool eigenSmooth) {
  return eigenSmooth ? firstPrincipalProjection(weightedActivations) : weightedActivations.sum(1);
}

at::Tensor rawMap(const CamMethod& method,
                  const MethodInput& input,
                  const MethodSettings& settings,
                  bool eigenSmooth) {
  if (method.map != nullptr) return method.map(input, settings);
  return sumChannels(method.weightedActivations(input, settings), eigenSmooth || method.projected);
}

}  // namespace gradcam
