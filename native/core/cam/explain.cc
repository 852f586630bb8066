#include "api/explain.h"

#include <algorithm>
#include <sstream>

#include "api/failure.h"
#include "core/cam/augmentation.h"
#include "core/cam/explain_pass.h"
#include "core/cam/heatmap.h"
#include "core/model/model_state.h"
#include "core/model/row_runs.h"
#include "core/process/device_jobs.h"
#include "core/process/host_memory.h"
#include "core/process/stopwatch.h"
#include "core/targets/explained_output.h"
#include "core/values/output_tree.h"
#include "core/values/tensor_state.h"

namespace gradcam {
namespace {

std::shared_ptr<const Plan> planOf(ModelState& state,
                                   const std::string& modelMethod,
                                   const std::vector<TargetLayer>& layers,
                                   PlanOptions options) {
  if (layers.empty()) throw Failure("ERR_INTERNAL", "No target layer was named.");
  return state.plan(modelMethod, layers, options);
}

void checkInput(const at::Tensor& input) {
  if (input.dim() >= 2 && input.dim() <= 5) return;
  std::ostringstream message;
  message << "The input has shape " << input.sizes()
          << ", but a batch of images [B, C, H, W], signals [B, C, L] or volumes [B, C, D, H, W] is needed.";
  throw Failure("ERR_INPUT_SHAPE", message.str());
}

// Targets, scores, outputs and layers are as the input itself gives them: of augmentations, the first that
// changes nothing, else the first that does not mirror, else the first.
std::vector<AugmentationChoice> plainestFirst(std::vector<AugmentationChoice> augmentations) {
  const auto first = [&](const auto& isPlain) {
    const auto found = std::find_if(augmentations.begin(), augmentations.end(), isPlain);
    if (found == augmentations.end()) return false;
    std::rotate(augmentations.begin(), found, found + 1);
    return true;
  };
  if (!first([](const AugmentationChoice& each) { return !each.flip && each.multiply == 1; }))
    first([](const AugmentationChoice& each) { return !each.flip; });
  return augmentations;
}

NetworkMethod networkMethodOf(const ExplainRequest& request) {
  for (const MethodRequest& method : request.methods) {
    const auto* found = methodAs<NetworkMethod>(method);
    if (found == nullptr) continue;
    if (request.methods.size() == 1) return *found;
    throw Failure("ERR_UNSUPPORTED",
                  method.name +
                      " looks at the whole network and shares no forward with other methods. "
                      "Explain with it in a call of its own.");
  }
  return nullptr;
}

MethodResult resultOf(const at::Tensor& heatmaps) {
  const at::Tensor peaks = copyToHost(heatmaps.flatten(1).amax(1));
  std::vector<bool> positive;
  for (int64_t index = 0; index < peaks.numel(); ++index)
    positive.push_back(peaks.data_ptr<float>()[index] > 0);
  return {toHandle(copyToHost(heatmaps)), std::move(positive)};
}

// What one run gives, of the inputs as they are or augmented.
struct Run {
  std::vector<at::Tensor> heatmaps;  // of each method
  c10::IValue output;
  std::vector<ResolvedTarget> targets;
  std::vector<double> scores;
  std::vector<ExplainedLayer> layers;
};

// `plan` is null where a method of the whole network runs.
Run runMethods(ModelState& state,
               const ExplainRequest& request,
               const Plan* plan,
               const ModelInputs& inputs,
               const ExplainedOutput& output,
               const std::vector<ResolvedTarget>* targets,
               const Cancellation& cancellation,
               const std::function<void(int64_t rows, int64_t total)>& advance,
               StageTimings& timings) {
  if (plan == nullptr) {
    const NetworkMethod method = networkMethodOf(request);
    const NetworkMaps maps = method({state, request, inputs, output, targets, cancellation, timings});
    checkFinite(maps.heatmaps, maps.output);
    return {{maps.heatmaps}, maps.output, maps.targets, maps.scores, {}};
  }
  Stopwatch stopwatch;
  ExplainPass pass(state, *plan, request, inputs, output, targets, cancellation);
  timings.forward += stopwatch.lap();
  const int64_t total = pass.perturbedRows();
  auto heatmaps = pass.heatmaps([&](int64_t rows) { advance(rows, total); }, timings);
  Run run{std::move(heatmaps), pass.output(), pass.targets(), pass.scores(), {}};
  for (const ExplainPass::Layer& layer : pass.layers())
    run.layers.push_back({layer.path, layer.callIndex, layer.output, layer.activation.sizes().vec()});
  return run;
}

void describe(const Run& run, Explanation& explanation) {
  explanation.outputs = toOutputTree(run.output);
  for (std::size_t index = 0; index < run.targets.size(); ++index)
    explanation.maps.push_back(explainedMap(run.targets[index], run.scores[index]));
  explanation.layers = run.layers;
}

Explanation explainInputs(ModelState& state,
                          const ExplainRequest& request,
                          const Plan* plan,
                          const ModelInputs& inputs,
                          const Cancellation& cancellation,
                          const Progress& progress) {
  Explanation explanation;
  Stopwatch stopwatch;
  const std::vector<AugmentationChoice> asItIs = {{}};
  const auto augmentations = plainestFirst(request.augmentations.empty() ? asItIs : request.augmentations);
  const auto count = static_cast<int64_t>(augmentations.size());
  std::vector<at::Tensor> sums;
  int64_t done = 0;
  const auto advance = [&](int64_t rows, int64_t total) { progress(done += rows, total * count); };
  std::vector<ResolvedTarget> targets;  // of the plainest, which all others explain, too
  for (const AugmentationChoice& augmentation : augmentations) {
    cancellation.throwIfCancelled();
    const bool first = sums.empty();
    const ModelInputs changed = inputs.with(augment(inputs.images(), augmentation));
    const ExplainedOutput output =
        augmentation.flip ? ExplainedOutput(request.output, inputs.images().sizes(), request.targets)
                          : ExplainedOutput(request.output);
    const Run run = runMethods(state, request, plan, changed, output, first ? nullptr : &targets,
                               cancellation, advance, explanation.timings);
    if (first) describe(run, explanation);
    if (first) targets = run.targets;
    stopwatch.lap();
    for (std::size_t method = 0; method < run.heatmaps.size(); ++method) {
      const at::Tensor undone = undo(run.heatmaps[method], augmentation);
      if (first) {
        sums.push_back(undone);
      } else {
        sums[method] = sums[method] + undone;
      }
    }
  }
  for (const at::Tensor& sum : sums)
    explanation.methods.push_back(
        resultOf((count == 1 ? sum : sum / static_cast<double>(count)).contiguous()));
  explanation.timings.cam += stopwatch.lap();
  return explanation;
}

Explanation explainOnDevice(ModelState& state,
                            const ExplainRequest& request,
                            const Cancellation& cancellation,
                            const Progress& progress,
                            at::Tensor& inputIsFinite) {
  Stopwatch stopwatch;
  const at::AutoGradMode gradientsOnlyBehindHooks(false);
  cancellation.throwIfCancelled();
  const auto plan = networkMethodOf(request)
                        ? nullptr
                        : planOf(state, request.modelMethod, request.layers, planOptionsFor(request));
  const double planTime = stopwatch.lap();
  const ModelInputs inputs = state.prepareBatches(request.modelMethod, request.inputs, &inputIsFinite);
  checkInput(inputs.images());
  const double inputTime = stopwatch.lap();
  Explanation explanation = namingBatchSize(state, request.modelMethod, inputs, request.output, [&] {
    return explainInputs(state, request, plan.get(), inputs, cancellation, progress);
  });
  ModelState::checkInputFinite(inputIsFinite);
  explanation.timings.plan += planTime;
  explanation.timings.forward += inputTime;
  return explanation;
}

}  // namespace

PlanDescription describePlan(const Model& model,
                             const std::string& modelMethod,
                             const std::vector<TargetLayer>& layers,
                             bool optimize) {
  ModelState& state = model.state();
  return onDevice(state.device, state.mode,
                  [&] { return planOf(state, modelMethod, layers, {.optimize = optimize})->describe(); });
}

Explanation explain(const Model& model,
                    const ExplainRequest& request,
                    const Cancellation& cancellation,
                    const Progress& progress) {
  ModelState& state = model.state();
  return onDevice(state.device, state.mode, [&] {
    at::Tensor finite;
    try {
      return explainOnDevice(state, request, cancellation, progress, finite);
    } catch (const Failure& failure) {
      if (failure.code == "ERR_NOT_FINITE") ModelState::checkInputFinite(finite);  // that is why
      throw;
    }
  });
}

}  // namespace gradcam
