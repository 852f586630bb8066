#include "core/activations_and_gradients.h"

#include <sstream>

namespace gradcam {
namespace {

std::string describeInputs(const std::vector<at::Tensor>& inputs) {
  std::ostringstream text;
  for (std::size_t index = 0; index < inputs.size(); ++index) {
    if (index > 0) text << ", ";
    text << inputs[index].sizes() << " " << inputs[index].dtype().name();
  }
  return text.str();
}

bool containsAny(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts) {
    if (text.find(part) != std::string::npos) return true;
  }
  return false;
}

// LibTorch reports wrong shapes and types in words only.
const char* forwardErrorCode(const std::string& message) {
  if (containsAny(message, {"same dtype", "should be the same", "expected scalar type",
                            "not implemented for '", "have the same dtype", "must have the same dtype"})) {
    return "ERR_INPUT_DTYPE";
  }
  if (containsAny(message, {"channels, but got",
                            "cannot be multiplied",
                            "must match the size",
                            "Expected 3D",
                            "Expected 4D",
                            "Expected 5D",
                            "expected 2D",
                            "expected 3D",
                            "expected 4D",
                            "expected 5D",
                            "size mismatch",
                            "Kernel size can't be greater",
                            "is invalid for input of size",
                            "Output size is too small",
                            "must match the existing size",
                            "Sizes of tensors must match",
                            "same shape",
                            "non-zero",
                            "non-empty",
                            "Dimension out of range"})) {
    return "ERR_INPUT_SHAPE";
  }
  return "ERR_FORWARD";
}

}  // namespace

c10::IValue runForward(const Plan& plan, const std::vector<at::Tensor>& inputs) {
  try {
    return plan.runTail(plan.runPrefix(std::vector<c10::IValue>(inputs.begin(), inputs.end())));
  } catch (const Failure&) {
    throw;
  } catch (...) {
    Failure failure = toFailure(std::current_exception(), "ERR_FORWARD");
    if (failure.code != "ERR_FORWARD") throw failure;
    const std::string message = torchMessage(std::current_exception());
    throw Failure(forwardErrorCode(message),
                  "The model's forward failed on the input " + describeInputs(inputs) + ": " + message);
  }
}

ActivationsAndGradients::ActivationsAndGradients(const Plan& plan,
                                                 const std::vector<at::Tensor>& inputs,
                                                 bool recordFromInput) {
  const ForwardHooks hooks(ForwardHooks::Mode::KeepForGradient, plan.layers().size());
  if (recordFromInput) at::GradMode::set_enabled(true);  // the hooks' end restores it
  output_ = runForward(plan, inputs);
  collectLayers(hooks.calls(), plan.layers());
}

void ActivationsAndGradients::collectLayers(const std::vector<LayerCall>& calls,
                                            const std::vector<HookedLayer>& wanted) {
  for (std::size_t slot = 0; slot < wanted.size(); ++slot) {
    const auto& [path, choice, optional] = wanted[slot];
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
      if (!at::isFloatingType(call->activation.scalar_type())) {
        throw Failure("ERR_LAYER_OUTPUT",
                      "Layer '" + path + "' gives " + std::string(call->activation.dtype().name()) +
                          " values, which have no gradient. Choose a layer with floating-point output.")
            .withLayer(path);
      }
      layers_.push_back({path, call->slot, call->callIndex, call->activation});
    }
  }
}

ActivationsAndGradients::Gradients ActivationsAndGradients::gradients(const at::Tensor& loss,
                                                                      bool last,
                                                                      bool second) const {
  std::vector<at::Tensor> activations;
  for (const Layer& layer : layers_) activations.push_back(layer.activation);
  Gradients taken;
  taken.gradients.resize(activations.size());
  if (loss.requires_grad()) {
    taken.gradients = torch::autograd::grad({loss}, activations, /*grad_outputs=*/{},
                                            /*retain_graph=*/second || !last, /*create_graph=*/second,
                                            /*allow_unused=*/true);
  }
  for (std::size_t index = 0; index < activations.size(); ++index) {
    at::Tensor& gradient = taken.gradients[index];
    if (!gradient.defined()) {
      throw Failure(
          "ERR_LAYER_DISCONNECTED",
          "The target score does not depend on layer '" + layers_[index].path +
              "', so there is no gradient. Choose a layer on the way from the input to the explained output "
              "(and, for a model with several outputs, the output it feeds).")
          .withLayer(layers_[index].path);
    }
    if (!second) continue;
    // A score that is linear in the activation has no second derivative.
    at::Tensor product;
    if (gradient.requires_grad()) {
      product =
          torch::autograd::grad({gradient}, {activations[index]}, {activations[index].detach()},
                                /*retain_graph=*/true, /*create_graph=*/false, /*allow_unused=*/true)[0];
    }
    taken.hessianTimesActivations.push_back(product.defined() ? product : at::zeros_like(gradient));
    gradient = gradient.detach();
  }
  return taken;
}

}  // namespace gradcam
