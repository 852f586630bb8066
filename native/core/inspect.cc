#include "core/inspect.h"

#include "core/activations_and_gradients.h"
#include "core/forward_hooks.h"
#include "core/layer_suggestion.h"
#include "core/model_state.h"

namespace gradcam {

Inspection inspect(const Model& model, const std::string& method, const std::vector<TensorHandle>& inputs) {
  ModelState& state = model.state();
  state.checkMethod(method);
  std::vector<std::string> paths;
  Inspection inspection;
  for (LayerInfo& layer : listLayers(state.module)) {
    paths.push_back(layer.path);
    inspection.layers.push_back({std::move(layer), {}});
  }
  const auto plan = Plan::observeOutputs(state.module, method, paths);
  const auto prepared = state.prepareInputs(inputs);

  const at::NoGradGuard noGrad;
  const ForwardHooks hooks(ForwardHooks::Mode::ObserveShapes, paths.size());
  const c10::IValue output = runForward(*plan, prepared);

  std::vector<FinishedCall> calls;
  for (const auto& observation : hooks.observations()) {
    LayerReport& report = inspection.layers[static_cast<std::size_t>(observation.slot)];
    report.outputShapes.push_back(observation.shape);
    if (observation.shape) calls.push_back({report.layer.path, *observation.shape});
  }
  inspection.suggestion =
      suggestLayer(calls, prepared.empty() ? std::vector<int64_t>{} : prepared[0].sizes().vec(),
                   output.isTensor() ? output.toTensor().sizes().vec() : std::vector<int64_t>{});
  return inspection;
}

}  // namespace gradcam
