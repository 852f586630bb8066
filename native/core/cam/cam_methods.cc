// The table of all methods, and those that are formulas of a layer's activations and gradients. A is the
// activations, G the gradients, both [B, C, ...space]; sums and means over "space" keep B and C. A new
// formula is a function here and a row of the table; any other method a file of its own and a row.
#include <algorithm>

#include "api/failure.h"
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
at::Tensor gradCam(const FormulaInput& in, const MethodRequest&) {
  return asFactorsOf(in.activations, meanOverSpace(in.gradients)) * in.activations;
}

// HiResCAM (Draelos and Carin 2020, eq. 4): gradient times activation at each place.
at::Tensor hiResCam(const FormulaInput& in, const MethodRequest&) {
  return in.gradients * in.activations;
}

// pytorch-grad-cam's GradCAMElementWise: as HiResCAM, with what speaks against the target left out.
at::Tensor gradCamElementWise(const FormulaInput& in, const MethodRequest&) {
  return (in.gradients * in.activations).relu();
}

// Grad-CAM++ (Chattopadhay et al. 2018, eq. 10 and 19), with pytorch-grad-cam's closed form of the
// coefficients.
at::Tensor gradCamPlusPlus(const FormulaInput& in, const MethodRequest&) {
  const at::Tensor& g = in.gradients;
  const at::Tensor g2 = g * g;
  const at::Tensor sums = asFactorsOf(in.activations, sumOverSpace(in.activations));
  at::Tensor alpha = g2 / (2 * g2 + sums * (g2 * g) + 1e-6);
  alpha = at::where(g == 0, at::zeros_like(alpha), alpha);
  return asFactorsOf(in.activations, sumOverSpace(g.relu() * alpha)) * in.activations;
}

// XGrad-CAM (Fu et al. 2020, eq. 7): the gradient's mean, each place weighted by its share of the activation.
at::Tensor xGradCam(const FormulaInput& in, const MethodRequest&) {
  const at::Tensor sums = sumOverSpace(in.activations) + 1e-7;
  const at::Tensor weights = sumOverSpace(in.gradients * in.activations / asFactorsOf(in.activations, sums));
  return asFactorsOf(in.activations, weights) * in.activations;
}

// LayerCAM (Jiang et al. 2021, eq. 6): each place weighted by its own positive gradient.
at::Tensor layerCam(const FormulaInput& in, const MethodRequest&) {
  return in.gradients.relu() * in.activations;
}

// ShapleyCAM (Cai 2025): the gradient minus half of the Hessian times the activation, averaged over space.
at::Tensor shapleyCam(const FormulaInput& in, const MethodRequest&) {
  const at::Tensor weights = meanOverSpace(in.gradients - 0.5 * in.hessianTimesActivations);
  return asFactorsOf(in.activations, weights) * in.activations;
}

// Channels weighted by chance, evenly between -1 and 1: what every other method has to beat.
at::Tensor randomCam(const FormulaInput& in, const MethodRequest& request) {
  const at::Tensor& a = in.activations;
  auto generator = at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(request.seed));
  // The same for every image, so that a map does not depend on the image's place in the batch.
  const at::Tensor weights = at::rand({1, a.size(1)}, generator, at::kDouble) * 2 - 1;
  return asFactorsOf(a, weights.to(a.device(), a.scalar_type())) * a;
}

// Eigen-CAM (Muhammad and Yeasin 2020): the activations, projected on their first principal component.
at::Tensor unweighted(const FormulaInput& in, const MethodRequest&) {
  return in.activations;
}

// pytorch-grad-cam's SegEigenCAM: the activation times the gradient's magnitude, projected.
at::Tensor segEigenCam(const FormulaInput& in, const MethodRequest&) {
  return in.gradients.abs() * in.activations;
}

// KPCA-CAM (Karmani et al. 2024): the activations on their first kernel principal component.
at::Tensor kpcaCam(const FormulaInput& in, const MethodRequest&) {
  return firstKernelPrincipalProjection(in.activations);
}

// FEM (Fuad et al. 2020, eq. 1 to 3): each channel weighted by the share of places where it is unusually
// strong.
at::Tensor fem(const FormulaInput& in, const MethodRequest& request) {
  const at::Tensor& a = in.activations;
  const at::Tensor flat = a.flatten(2);
  const at::Tensor threshold = flat.mean(2) + request.femDeviations * flat.std(2, /*unbiased=*/false);
  const at::Tensor strong = (a > asFactorsOf(a, threshold)).to(a.scalar_type());
  return (asFactorsOf(a, meanOverSpace(strong)) * a).sum(1);
}

using Needs = LayerFormula::Needs;
constexpr CamMethod kMethods[] = {
    {"GradCAM", LayerFormula{Needs::Gradients, gradCam}},
    {"HiResCAM", LayerFormula{Needs::Gradients, hiResCam}},
    {"GradCAMElementWise", LayerFormula{Needs::Gradients, gradCamElementWise}},
    {"GradCAMPlusPlus", LayerFormula{Needs::Gradients, gradCamPlusPlus}},
    {"XGradCAM", LayerFormula{Needs::Gradients, xGradCam}},
    {"LayerCAM", LayerFormula{Needs::Gradients, layerCam}},
    {"ShapleyCAM", LayerFormula{Needs::SecondDerivatives, shapleyCam}},
    {"RandomCAM", LayerFormula{Needs::Activations, randomCam}},
    {"EigenCAM", LayerFormula{Needs::Activations, unweighted, nullptr, /*projected=*/true}},
    // As HiResCAM, projected.
    {"EigenGradCAM", LayerFormula{Needs::Gradients, hiResCam, nullptr, /*projected=*/true}},
    {"SegEigenCAM", LayerFormula{Needs::Gradients, segEigenCam, nullptr, /*projected=*/true}},
    {"KPCACAM", LayerFormula{Needs::Activations, nullptr, kpcaCam}},
    {"FEM", LayerFormula{Needs::Activations, nullptr, fem}},
    {"ScoreCAM", ModelMethod{scoreCam, rowsOfScoreCam}},
    {"AblationCAM", ModelMethod{ablationCam, rowsOfAblationCam}},
    {"SmoothGradCAMPlusPlus",
     ModelMethod{smoothGradCamPlusPlus, rowsOfSmoothGradCamPlusPlus, /*needsGradients=*/true}},
    {"CAM", ModelMethod{classActivationMaps}},
    {"FullGrad", NetworkMethod{fullGrad}},
    {"LeGrad", NetworkMethod{leGrad}},
};

}  // namespace

const CamMethod& camMethod(const std::string& name) {
  const auto* found = std::find_if(std::begin(kMethods), std::end(kMethods),
                                   [&](const CamMethod& method) { return method.name == name; });
  if (found == std::end(kMethods)) throw Failure("ERR_INTERNAL", "There is no method named '" + name + "'.");
  return *found;
}

at::Tensor sumChannels(const at::Tensor& weightedActivations, bool projected) {
  return projected ? firstPrincipalProjection(weightedActivations) : weightedActivations.sum(1);
}

at::Tensor rawMap(const LayerFormula& formula, const FormulaInput& input, const MethodRequest& request) {
  if (formula.map != nullptr) return formula.map(input, request);
  return sumChannels(formula.weightedActivations(input, request), request.eigenSmooth || formula.projected);
}

}  // namespace gradcam
