#pragma once

#include <memory>
#include <string>
#include <vector>

#include "api/cancellation.h"
#include "core/hooks/forward_hooks.h"
#include "core/plan/plan.h"

namespace gradcam {

// The activations and gradients of target layers, from one forward and any number of backward walks:
// pytorch-grad-cam's class of this name, on TorchScript. Differences on purpose: layers are known by path and
// call instead of by the order of calls, gradients are taken only from the target layers on, and nothing of
// the model's is touched.
class ActivationsAndGradients {
 public:
  // The maps are as the layer gave them; later in-place operations do not reach them.
  struct Layer : LayerCall {
    std::string path;
    OutputSelector output;  // where the layer gives several things, the way to the explained tensor
  };

  // Runs forward. Throws ERR_FORWARD, ERR_INPUT_SHAPE, ERR_INPUT_DTYPE, ERR_LAYER_NOT_CALLED,
  // ERR_LAYER_OUTPUT. Of a plan without gradients there are activations only.
  // With `recordFromInput` autograd records from inputs that require gradients on, not only from the first
  // layer on.
  ActivationsAndGradients(const Plan& plan, const ModelInputs& inputs, bool recordFromInput = false);

  const c10::IValue& output() const { return output_; }
  const std::vector<Layer>& layers() const { return layers_; }

  // The gradient of the scalar `loss` with respect to each of layers() and each of its maps, in their order.
  // Pass `last` = false while further losses of the same forward follow. Throws ERR_LAYER_DISCONNECTED.
  // With `second`, also the Hessian of the loss times the map.
  struct Gradients {
    std::vector<std::vector<at::Tensor>> gradients;
    std::vector<std::vector<at::Tensor>> hessianTimesActivations;
  };
  Gradients gradients(const at::Tensor& loss, bool last, bool second = false) const;

 private:
  void collectLayers(const std::vector<LayerCall>& calls, const std::vector<TargetLayer>& wanted);

  [[noreturn]] void throwDisconnected(const std::string& path) const;

  const Plan& plan_;
  c10::IValue output_;
  std::vector<Layer> layers_;
};

}  // namespace gradcam
