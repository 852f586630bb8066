#include "core/cam/class_activation_map.h"

#include "api/failure.h"

namespace gradcam {
namespace {

at::Tensor parameterOf(const torch::jit::Module& module, const char* name) {
  if (!module.hasattr(name) || !module.attr(name).isTensor()) return {};
  return module.attr(name).toTensor().to(at::kFloat);
}

bool isLinear(const at::Tensor& weight, int64_t channels) {
  return weight.defined() && weight.dim() == 2 && weight.size(1) == channels;
}

at::Tensor namedWeight(const torch::jit::Module& model,
                       const std::string& linear,
                       const ClassifiedLayer& layer) {
  for (const auto& named : model.named_modules()) {
    if (named.name != linear) continue;
    const at::Tensor weight = parameterOf(named.value, "weight");
    if (isLinear(weight, layer.activation.size(1))) return weight;
    throw Failure("ERR_LAYER_OUTPUT", "CAM needs a linear layer that weights the " +
                                          std::to_string(layer.activation.size(1)) + " channels of '" +
                                          layer.path + "'; '" + linear + "' does not.")
        .withLayer(linear);
  }
  throw Failure("ERR_UNKNOWN_LAYER", "The model has no layer '" + linear + "'.").withLayer(linear);
}

// Whether the layer makes `output` of the activation's mean: the model that CAM was made for.
bool classifiesTheMean(const torch::jit::Module& linear,
                       const at::Tensor& weight,
                       const at::Tensor& activation,
                       const at::Tensor& output) {
  at::Tensor scores = activation.to(at::kFloat).flatten(2).mean(2).matmul(weight.t());
  const at::Tensor bias = parameterOf(linear, "bias");
  if (bias.defined()) scores = scores + bias;
  return scores.sizes() == output.sizes() && at::allclose(scores, output.to(at::kFloat), 1e-2, 1e-3);
}

at::Tensor foundWeight(const torch::jit::Module& model, const ClassifiedLayer& layer) {
  std::vector<std::string> candidates;
  for (const auto& named : model.named_modules()) {
    const at::Tensor weight = parameterOf(named.value, "weight");
    if (!isLinear(weight, layer.activation.size(1))) continue;
    candidates.push_back(named.name);
    if (layer.output.isTensor() &&
        classifiesTheMean(named.value, weight, layer.activation, layer.output.toTensor().detach()))
      return weight;
  }
  std::string message = "CAM is for models that average '" + layer.path +
                        "' over space and classify it by one linear layer, and this one does not";
  message +=
      candidates.empty() ? ". Use GradCAM." : "; to use a linear layer's weights all the same, name it.";
  throw Failure("ERR_UNSUPPORTED", message).withLayer(layer.path).withAvailable(std::move(candidates));
}

}  // namespace

at::Tensor classActivationMap(const torch::jit::Module& model,
                              const std::string& linear,
                              const ClassifiedLayer& layer,
                              const std::vector<ResolvedTarget>& targets) {
  const at::NoGradGuard noGrad;
  const at::Tensor weight = linear.empty() ? foundWeight(model, layer) : namedWeight(model, linear, layer);
  std::vector<at::Tensor> maps;
  for (const ResolvedTarget& target : targets) {
    if (target.classIndex < 0 || target.classIndex >= weight.size(0))
      throw Failure("ERR_CLASS_OUT_OF_RANGE", "CAM explains classes of the linear layer only.");
    const at::Tensor ofImage = layer.activation[target.imageIndex];
    std::vector<int64_t> sizes(static_cast<std::size_t>(ofImage.dim()), 1);
    sizes[0] = ofImage.size(0);
    maps.push_back((weight[target.classIndex].to(ofImage.scalar_type()).view(sizes) * ofImage).sum(0));
  }
  return at::stack(maps);
}

}  // namespace gradcam
