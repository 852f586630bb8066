#include "api/warm_up.h"

#include "api/failure.h"
#include "core/model/model_state.h"
#include "core/model/row_runs.h"
#include "core/plan/activations_and_gradients.h"
#include "core/plan/derivatives.h"
#include "core/process/device_jobs.h"
#include "core/values/output_tree.h"

namespace gradcam {
namespace {

constexpr int kRuns = 2;  // weights are packed when a size comes the second time

// Of all in the output that gradients can start from; undefined where there is nothing.
at::Tensor sumOf(const c10::IValue& output) {
  const at::AutoGradMode record(true);
  at::Tensor sum;
  for (const auto& [selector, tensor] : tensorsIn(output)) {
    if (tensor.requires_grad()) sum = sum.defined() ? sum + tensor.sum() : tensor.sum();
  }
  return sum;
}

// Methods that need no gradient can explain what has none.
void walkBack(const ActivationsAndGradients& captured) {
  std::vector<at::Tensor> maps;
  for (const auto& layer : captured.layers()) maps.insert(maps.end(), layer.maps.begin(), layer.maps.end());
  const at::Tensor sum = sumOf(captured.output());
  if (!sum.defined()) return;
  try {
    derivatives(sum, maps, /*retainGraph=*/false);
  } catch (const Failure& failure) {
    if (failure.code != "ERR_UNSUPPORTED") throw;
  }
}

void warmUpOnDevice(ModelState& state, const WarmUpRequest& request, const Cancellation& cancellation) {
  const at::AutoGradMode gradientsOnlyBehindHooks(false);
  cancellation.throwIfCancelled();
  const auto plan = request.layers.empty()
                        ? state.forwardPlan(request.modelMethod)
                        : state.plan(request.modelMethod, request.layers, {.optimize = request.optimize});
  const ModelInputs inputs = request.layers.empty()
                                 ? state.prepareInputs(request.modelMethod, request.inputs)
                                 : state.prepareBatches(request.modelMethod, request.inputs);
  namingBatchSize(state, request.modelMethod, inputs, {}, [&] {
    for (int run = 0; run < kRuns; ++run) {
      cancellation.throwIfCancelled();
      walkBack(ActivationsAndGradients(*plan, inputs));
    }
  });
}

}  // namespace

void warmUp(const Model& model, const WarmUpRequest& request, const Cancellation& cancellation) {
  ModelState& state = model.state();
  onDevice(state.device, state.mode, [&] { warmUpOnDevice(state, request, cancellation); });
}

}  // namespace gradcam
