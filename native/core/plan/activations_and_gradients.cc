#include "core/plan/activations_and_gradients.h"

#include <algorithm>

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

// The Hessian of a score times the activation, from the score's recorded gradient at the activation.
at::Tensor hessianTimes(const at::Tensor& activation, const at::Tensor& gradient) {
  at::Tensor product;
  // A score that is linear in the activation has no second derivative.
  if (gradient.requires_grad()) {
    product = derivatives(gradient, {activation}, /*retainGraph=*/true, /*createGraph=*/false,
                          {activation.detach().to(gradient.scalar_type())})[0];
  }
  return product.defined() ? product : at::zeros_like(activation).detach();
}

}  // namespace

ActivationsAndGradients::ActivationsAndGradients(const Plan& plan,
                                                 const ModelInputs& inputs,
                                                 bool recordFromInput)
    : plan_(plan) {
  using Mode = ForwardHooks::Mode;
  const ForwardHooks hooks(plan.recordsGradients() ? Mode::KeepForGradient : Mode::Keep, plan.layers());
  if (recordFromInput) at::GradMode::set_enabled(true);  // the hooks' end restores it
  output_ = runForward(plan, inputs);
  collectLayers(hooks.calls(), plan.layers());
}

void ActivationsAndGradients::collectLayers(const std::vector<LayerCall>& calls,
                                            const std::vector<TargetLayer>& wanted) {
  for (std::size_t slot = 0; slot < wanted.size(); ++slot) {
    const auto& [path, choice, callIndex, output] = wanted[slot];
    std::vector<const LayerCall*> ofLayer;
    for (const LayerCall& call : calls) {
      if (call.slot != static_cast<int>(slot)) continue;
      if (choice == CallKind::Index && call.callIndex != callIndex) continue;
      ofLayer.push_back(&call);
    }
    if (choice == CallKind::Last && ofLayer.size() > 1) ofLayer = {ofLayer.back()};
    if (ofLayer.empty() && plan_.layersAreOptional()) continue;
    if (ofLayer.empty()) {
      throw Failure("ERR_LAYER_NOT_CALLED", "Layer '" + path +
                                                "' sits in a branch or loop that this input did not take" +
                                                (choice == CallKind::Index ? " often enough." : "."))
          .withLayer(path);
    }
    for (const LayerCall* call : ofLayer) {
      if (!output.empty() && call->maps.empty())
        throwNoSuchOutput(path, output, call->given.value_or(std::string()));
      layers_.push_back({*call, path, output});
      for (const at::Tensor& map : call->maps) {
        if (at::isFloatingType(map.scalar_type())) continue;
        throw Failure("ERR_LAYER_OUTPUT",
                      "Layer '" + path + "' gives " + std::string(map.dtype().name()) +
                          " values, which have no gradient. Choose a layer with floating-point output.")
            .withLayer(path);
      }
    }
  }
}

ActivationsAndGradients::Gradients ActivationsAndGradients::gradients(const at::Tensor& loss,
                                                                      bool last,
                                                                      bool second) const {
  std::vector<at::Tensor> maps;  // of all layers, in order
  for (const Layer& layer : layers_) maps.insert(maps.end(), layer.maps.begin(), layer.maps.end());
  std::vector<at::Tensor> gradients(maps.size());
  if (loss.requires_grad())
    gradients = derivatives(loss, maps, /*retainGraph=*/second || !last, /*createGraph=*/second);
  Gradients taken;
  auto next = gradients.begin();
  for (const Layer& layer : layers_) {
    const bool connected = std::any_of(next, next + static_cast<std::ptrdiff_t>(layer.maps.size()),
                                       [](const at::Tensor& gradient) { return gradient.defined(); });
    if (!connected) throwDisconnected(layer.path);
    auto& ofLayer = taken.gradients.emplace_back();
    auto& products = taken.hessianTimesActivations.emplace_back();
    for (const at::Tensor& map : layer.maps) {
      // Undefined of a level that the score does not use.
      const at::Tensor gradient = next->defined() ? *next : at::zeros_like(map).detach();
      ++next;
      ofLayer.push_back(second ? gradient.detach() : gradient);
      if (second) products.push_back(hessianTimes(map, gradient));
    }
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
