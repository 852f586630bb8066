#include "api/failure.h"
#include "core/cam/model_method.h"
#include "core/process/host_memory.h"
#include "core/script/module_facts.h"

namespace gradcam {
namespace {

bool isLinear(const at::Tensor& weight, int64_t channels) {
  return weight.defined() && weight.dim() == 2 && weight.size(1) == channels;
}

at::Tensor namedWeight(const torch::jit::Module& model, const std::string& linear, const CamLayer& layer) {
  const auto module = moduleNamed(model, linear);
  if (!module)
    throw Failure("ERR_UNKNOWN_LAYER", "The model has no layer '" + linear + "'.").withLayer(linear);
  const at::Tensor weight = tensorAttribute(*module, "weight");
  if (isLinear(weight, layer.activation.size(1))) return weight;
  throw Failure("ERR_LAYER_OUTPUT", "CAM needs a linear layer that weights the " +
                                        std::to_string(layer.activation.size(1)) + " channels of '" +
                                        layer.path + "'; '" + linear + "' does not.")
      .withLayer(linear);
}

// Whether the layer makes `output` of the activation's mean: the model that CAM was made for.
bool classifiesTheMean(const torch::jit::Module& linear,
                       const at::Tensor& weight,
                       const at::Tensor& activation,
                       const at::Tensor& output) {
  at::Tensor scores = activation.to(at::kFloat).flatten(2).mean(2).matmul(weight.to(at::kFloat).t());
  const at::Tensor bias = tensorAttribute(linear, "bias");
  if (bias.defined()) scores = scores + bias.to(at::kFloat);
  // bfloat16, in which the model may have counted, has 8 bits: its scores are right to a hundredth. Another
  // layer's are not near the output at all.
  return scores.sizes() == output.sizes() &&
         at::allclose(scores, output.to(at::kFloat), /*rtol=*/1e-2, /*atol=*/1e-3);
}

at::Tensor foundWeight(const torch::jit::Module& model, const CamLayer& layer, const c10::IValue& output) {
  std::vector<std::string> candidates;
  for (const auto& named : model.named_modules()) {
    const at::Tensor weight = tensorAttribute(named.value, "weight");
    if (!isLinear(weight, layer.activation.size(1))) continue;
    candidates.push_back(named.name);
    if (output.isTensor() &&
        classifiesTheMean(named.value, weight, layer.activation, output.toTensor().detach()))
      return weight;
  }
  std::string message = "CAM is for models that average '" + layer.path +
                        "' over space and classify it by one linear layer, and this one does not";
  message +=
      candidates.empty() ? ". Use GradCAM." : "; to use a linear layer's weights all the same, name it.";
  throw Failure("ERR_UNSUPPORTED", message).withLayer(layer.path).withAvailable(std::move(candidates));
}

}  // namespace

std::vector<at::Tensor> classActivationMaps(const ExplainedBatch& batch, const MethodRequest& request) {
  const torch::jit::Module& model = batch.state.module;
  std::vector<at::Tensor> perLayer;
  for (const CamLayer& layer : batch.layers) {
    const at::Tensor weight = request.linear.empty() ? foundWeight(model, layer, batch.explained)
                                                     : namedWeight(model, request.linear, layer);
    std::vector<int64_t> classes;
    for (const ResolvedTarget& target : batch.targets) {
      if (target.classIndex < 0 || target.classIndex >= weight.size(0))
        throw Failure("ERR_CLASS_OUT_OF_RANGE", "CAM explains classes of the linear layer only.");
      classes.push_back(target.classIndex);
    }
    const at::Tensor ofTargets = weight.to(at::kFloat).index_select(0, indexTensor(classes, weight.device()));
    perLayer.push_back(weightedMaps(batch, layer.activation, ofTargets, request.eigenSmooth));
  }
  return perLayer;
}

}  // namespace gradcam
