#include "core/plan/activations_and_gradients.h"

#include "api/failure.h"
#include "core/plan/derivatives.h"
#include "core/plan/plan_run.h"

namespace gradcam {
namespace {

[[noreturn]] void throwNoSuchOutput(const std::string& path,
                                    const OutputSelector& output,
                                    const std::string& given) {
  throw Failure("ERR_LAYER_OUTPUT", "Layer '" + path + "' gives no tensor at output " +
                                        describeSelector(output) + ". The tensors that it gives are " +
                                        (given.empty() ? "none" : given) + ".")
      .withLayer(path);
}

}  // namespace

std::vector<at::Tensor> tensorsOf(const ActivationsAndGradients::Layer& layer) {
  return layer.activation.defined() ? std::vector<at::Tensor>{layer.activation} : layer.maps;
}

ActivationsAndGradients::ActivationsAndGradients(const Plan& plan,
                                                 const ModelInputs& inputs,
                                                 bool recordFromInput)
    : plan_(plan) {
  const ForwardHooks hooks(ForwardHooks::Mode::KeepForGradient, plan.layers());
  if (recordFromInput) at::GradMode::set_enabled(true);  // the hooks' end restores it
  output_ = runForward(plan, inputs);
  collectLayers(hooks.calls(), plan.layers());
}

void ActivationsAndGradients::collectLayers(const std::vector<LayerCall>& calls,
                                            const std::vector<HookedLayer>& wanted) {
  for (std::size_t slot = 0; slot < wanted.size(); ++slot) {
    const auto& [path, choice, optional, output] = wanted[slot];
    std::vector<const LayerCall*> ofLayer;
    for (const LayerCall& call : calls) {
      if (call.slot != static_cast<int>(slot)) continue;
      if (choice.kind == CallChoice::Kind::Index && call.callIndex != choice.index) continue;
      ofLayer.push_back(&call);
    }
    if (choice.kind == CallChoice::Kind::Last && ofLayer.size() > 1) ofLayer = {ofLayer.back()};
    if (ofLayer.empty() && optional) continue;
    if (ofLayer.empty()) {
      throw Failure("ERR_LAYER_NOT_CALLED",
                    "Layer '" + path + "' sits in a branch or loop that this input did not take" +
                        (choice.kind == CallChoice::Kind::Index ? " often enough." : "."))
          .withLayer(path);
    }
    for (const LayerCall* call : ofLayer) {
      if (!output.empty() && !call->activation.defined()) throwNoSuchOutput(path, output, call->given);
      layers_.push_back(
          {path, call->slot, call->callIndex, output, call->activation, call->maps, call->given});
      for (const at::Tensor& tensor : tensorsOf(layers_.back())) {
        if (at::isFloatingType(tensor.scalar_type())) continue;
        throw Failure("ERR_LAYER_OUTPUT",
                      "Layer '" + path + "' gives " + std::string(tensor.dtype().name()) +
                          " values, which have no gradient. Choose a layer with floating-point output.")
            .withLayer(path);
      }
    }
  }
}

ActivationsAndGradients::Gradients ActivationsAndGradients::gradients(const at::Tensor& loss,
                                                                      bool last,
                                                                      bool second) const {
  std::vector<at::Tensor> activations;  // of all layers, in order
  for (const Layer& layer : layers_) {
    for (const at::Tensor& tensor : tensorsOf(layer)) activations.push_back(tensor);
  }
  std::vector<at::Tensor> gradients(activations.size());
  if (loss.requires_grad()) {
    gradients = derivatives(loss, activations, /*retainGraph=*/second || !last, /*createGraph=*/second);
  }
  Gradients taken;
  std::size_t position = 0;
  for (const Layer& layer : layers_) {
    std::vector<at::Tensor> ofLayer, products;
    bool connected = false;
    for (const at::Tensor& activation : tensorsOf(layer)) {
      at::Tensor gradient = gradients[position++];
      connected = connected || gradient.defined();
      if (!gradient.defined())
        gradient = at::zeros_like(activation).detach();  // a level that the score does not use
      if (second) {
        // A score that is linear in the activation has no second derivative.
        at::Tensor product;
        if (gradient.requires_grad()) {
          product = derivatives(gradient, {activation}, /*retainGraph=*/true, /*createGraph=*/false,
                                {activation.detach().to(gradient.scalar_type())})[0];
        }
        products.push_back(product.defined() ? product : at::zeros_like(activation).detach());
        gradient = gradient.detach();
      }
      ofLayer.push_back(gradient);
    }
    if (!connected) throwDisconnected(layer.path);
    const bool single = layer.activation.defined();
    taken.gradients.push_back(single ? ofLayer.at(0) : at::Tensor());
    taken.gradientsOfMaps.push_back(single ? std::vector<at::Tensor>{} : ofLayer);
    if (!second) continue;
    taken.hessianTimesActivations.push_back(single ? products.at(0) : at::Tensor());
    taken.hessianTimesMaps.push_back(single ? std::vector<at::Tensor>{} : products);
  }
  return taken;
}

void ActivationsAndGradients::throwDisconnected(const std::string& path) const {
  const auto operators = plan_.withoutDerivative();
  if (!operators.empty()) {
    throw Failure("ERR_UNSUPPORTED", "Behind layer '" + path + "' the model runs " + joined(operators) +
                                         ", which has no gradient. " + kMethodsWithoutGradients +
                                         "; or export the model before it was quantized.")
        .withLayer(path)
        .withAvailable(operators);
  }
  throw Failure(
      "ERR_LAYER_DISCONNECTED",
      "The target score does not depend on layer '" + path +
          "', so there is no gradient. Choose a layer on the way from the input to the explained output "
          "(and, for a model with several outputs, the output it feeds).")
      .withLayer(path);
}

}  // namespace gradcam
