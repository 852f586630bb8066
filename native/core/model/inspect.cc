#include "api/inspect.h"

#include <algorithm>
#include <map>

#include "core/hooks/forward_hooks.h"
#include "core/model/layer_suggestion.h"
#include "core/model/model_state.h"
#include "core/model/row_runs.h"
#include "core/plan/plan_run.h"
#include "core/process/device_jobs.h"
#include "core/script/image_list.h"
#include "core/script/layer_weights.h"
#include "core/script/module_facts.h"
#include "core/values/image_axes.h"

namespace gradcam {
namespace {

// [B, C, ...space] of the images.
std::vector<int64_t> inputShapeOf(const std::vector<at::Tensor>& inputs, bool imageList) {
  if (inputs.empty()) return {};
  std::vector<int64_t> shape = inputs[0].sizes().vec();
  if (const int64_t axis = channelAxisOf(shape); axis != 1) {
    std::rotate(shape.begin() + 1, shape.begin() + axis, shape.begin() + axis + 1);
    return shape;
  }
  if (!imageList) return shape;
  int64_t images = 0;
  for (const at::Tensor& input : inputs) images += input.dim() == 4 ? input.size(0) : 1;
  if (shape.size() == 3) shape.insert(shape.begin(), images);
  shape[0] = images;
  return shape;
}

// Of the output, or of the first tensor in it; detections, a list of dictionaries, have none.
std::vector<int64_t> outputShape(const c10::IValue& output) {
  if (output.isTensor()) return output.toTensor().sizes().vec();
  if (output.isTuple() && !output.toTupleRef().elements().empty())
    return outputShape(output.toTupleRef().elements()[0]);
  if (output.isList() && !output.toListRef().empty() && !output.toListRef().front().isGenericDict())
    return outputShape(output.toListRef().front());
  if (output.isGenericDict() && !output.toGenericDict().empty())
    return outputShape(output.toGenericDict().begin()->value());
  return {};
}

Inspection inspectOnDevice(ModelState& state, const std::string& method, const GivenInputs& inputs) {
  state.checkMethod(method);
  std::vector<std::string> paths;
  Inspection inspection;
  for (LayerInfo& layer : listLayers(state.module)) {
    paths.push_back(layer.path);
    inspection.layers.push_back({std::move(layer), {}, {}});
  }
  const auto plan = Plan::observeOutputs(state.module, method, paths);
  const auto prepared = state.prepareInputs(method, inputs);

  const at::NoGradGuard noGrad;
  const ForwardHooks hooks(ForwardHooks::Mode::ObserveShapes);
  const c10::IValue output =
      namingBatchSize(state, method, prepared, {}, [&] { return runForward(*plan, prepared); });

  std::vector<FinishedCall> calls;
  std::map<std::vector<int64_t>, std::optional<bool>> channelsLastByShape;
  for (const auto& observation : hooks.observations()) {
    LayerReport& report = inspection.layers[static_cast<std::size_t>(observation.slot)];
    report.outputShapes.push_back(observation.shape);
    report.parts = observation.shapesOfParts;
    calls.push_back({report.layer.path, report.layer.type, observation.shape.value_or(std::vector<int64_t>{}),
                     observation.shapesOfMaps, std::nullopt, observation.dependsOnInput});
    auto& channelsLast = calls.back().channelsLast;
    const LayerWeights weights(moduleNamed(state.module, report.layer.path));
    channelsLast = weights.areChannelsLast(calls.back().shape);
    // A layer without weights, such as dropout, gives what came before it.
    auto& ofShape = channelsLastByShape[calls.back().shape];
    if (!channelsLast) channelsLast = ofShape;
    ofShape = channelsLast;
  }
  inspection.suggestion =
      suggestLayer(calls, inputShapeOf(prepared.tensors, method == "forward" && takesImageList(state.module)),
                   outputShape(output));
  return inspection;
}

}  // namespace

Inspection inspect(const Model& model, const std::string& method, const GivenInputs& inputs) {
  ModelState& state = model.state();
  return onDevice(state.device, state.mode, [&] { return inspectOnDevice(state, method, inputs); });
}

}  // namespace gradcam
