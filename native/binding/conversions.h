#pragma once

#include <napi.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "api/attribution.h"
#include "api/cancellation.h"
#include "api/explain.h"
#include "api/factorize.h"
#include "api/inspect.h"
#include "api/model.h"
#include "api/perturbed_scores.h"
#include "api/warm_up.h"

namespace gradcam {

// JavaScript values to plain C++ structs and back. lib/addon/types.ts declares the JavaScript side and
// validates what users give; the checks here only keep a wrong caller from harming the process.

struct JobContext;  // target_conversions.h

// A model as JavaScript holds it; used on the JavaScript thread only.
struct ModelBox {
  std::shared_ptr<Model> model;  // empty once disposed and no job uses it any more
  int64_t byteLength = 0;
  std::size_t activeJobs = 0;  // that wait or run
  std::size_t doneJobs = 0, failedJobs = 0, cancelledJobs = 0;
  // Of the active jobs those that an executor works on; executors count.
  const std::shared_ptr<std::atomic<std::size_t>> runningJobs = std::make_shared<std::atomic<std::size_t>>(0);
  bool disposed = false;
  std::vector<Napi::Promise::Deferred> waitingForDisposal;
};

// What JavaScript holds, in all environments of the process.
struct HandleCounts {
  std::size_t tensors, models, scriptedTargets, cancellations;
};
HandleCounts handleCounts();

Napi::Object fromTensor(Napi::Env env, TensorHandle tensor);  // NativeTensor
const TensorHandle& toTensor(const Napi::Value& nativeTensorReference);
void releaseTensor(const Napi::Value& nativeTensorReference);
std::vector<TensorHandle> toTensors(const Napi::Value& references);

Napi::Value fromModel(Napi::Env env, std::shared_ptr<Model> model);  // NativeModel
std::shared_ptr<ModelBox> toModelBox(const Napi::Value& nativeModelReference);

Napi::Value fromScriptedTarget(Napi::Env env, std::shared_ptr<ScriptedTarget> target);
std::shared_ptr<ScriptedTarget> toScriptedTarget(const Napi::Value& reference);

Napi::Value fromCancellation(Napi::Env env);
std::shared_ptr<Cancellation> toCancellation(const Napi::Value& reference);

Napi::Value fromOutput(Napi::Env env, const OutputTree& output);
Napi::Value fromInspection(Napi::Env env, const Inspection& inspection);
Napi::Value fromExplanation(Napi::Env env, const Explanation& explanation, double queueMilliseconds);

LoadOptions toLoadOptions(const Napi::Value& value);
GivenInputs toGivenInputs(const Napi::Value& value);
FactorizationRequest toFactorizationRequest(const Napi::Value& value);
Napi::Value fromFactorization(Napi::Env env, const Factorization& factorization);
PerturbedScoresRequest toPerturbedScoresRequest(const Napi::Value& value, const JobContext& context);
Napi::Value fromPerturbedScores(Napi::Env env, const PerturbedScores& result);
AttributionRequest toAttributionRequest(const Napi::Value& value, const JobContext& context);
Napi::Value fromAttribution(Napi::Env env, const Attribution& attribution);
std::vector<TargetLayer> toTargetLayers(const Napi::Value& value);
Napi::Value fromPlanDescription(Napi::Env env, const PlanDescription& plan);
WarmUpRequest toWarmUpRequest(const Napi::Value& value);
ExplainRequest toExplainRequest(const Napi::Value& value, const JobContext& context);

}  // namespace gradcam
