#include "binding/model_functions.h"

#include <algorithm>
#include <chrono>

#include "api/scripted_target.h"
#include "binding/conversions.h"
#include "binding/progress_reporter.h"
#include "binding/reading.h"
#include "binding/target_conversions.h"

namespace gradcam {
namespace {

using Clock = std::chrono::steady_clock;

// Frees the model once it is disposed and its last job has ended.
void releaseIfUnused(Napi::Env env, ModelBox& box) {
  if (!box.disposed || box.activeJobs > 0) return;
  if (box.model) Napi::MemoryManagement::AdjustExternalMemory(env, -box.byteLength);
  box.model.reset();
  for (const auto& deferred : box.waitingForDisposal) deferred.Resolve(env.Undefined());
  box.waitingForDisposal.clear();
}

class RunningJob {
 public:
  explicit RunningJob(std::atomic<std::size_t>& running) : running_(running) { ++running_; }
  ~RunningJob() { --running_; }
  RunningJob(const RunningJob&) = delete;
  RunningJob& operator=(const RunningJob&) = delete;

 private:
  std::atomic<std::size_t>& running_;
};

// A job that uses a model keeps it until it has ended, whatever becomes of the JavaScript object.
template <typename Result>
Napi::Value startModelJob(
    const Napi::CallbackInfo& info,
    JobChannel& channel,
    const std::function<std::function<Result(const Model&, const Cancellation&)>()>& prepare,
    std::function<Napi::Value(Napi::Env, Result&&)> convert) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::shared_ptr<ModelBox> box = toModelBox(info[0]);
    if (box->disposed) throw Failure("ERR_DISPOSED", "The model was disposed and cannot be used any more.");
    const auto cancellation = toCancellation(info[2]);
    const auto work = prepare();
    auto job = std::make_shared<Job<Result>>(
        info.Env(), cancellation,
        [model = box->model, cancellation, work, running = box->runningJobs] {
          const RunningJob counted(*running);
          return work(*model, *cancellation);
        },
        std::move(convert),
        [box](Napi::Env env, JobOutcome outcome) {
          --box->activeJobs;
          ++(outcome == JobOutcome::Done     ? box->doneJobs
             : outcome == JobOutcome::Failed ? box->failedJobs
                                             : box->cancelledJobs);
          releaseIfUnused(env, *box);
        });
    const Napi::Value promise = job->deferred.Promise();
    channel.submit(std::move(job));
    ++box->activeJobs;  // the job settles on this thread, so not before
    return promise;
  });
}

JobContext contextOf(const Napi::CallbackInfo& info, JobChannel& channel) {
  return {channel.shared_from_this(), toCancellation(info[2])};
}

}  // namespace

Napi::Value startLoadModel(const Napi::CallbackInfo& info, JobChannel& channel) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto job = std::make_shared<Job<std::shared_ptr<Model>>>(
        info.Env(), toCancellation(info[2]),
        [path = std::string(info[0].ToString()), options = toLoadOptions(info[1])] {
          return loadModel(path, options);
        },
        [](Napi::Env env, std::shared_ptr<Model>&& model) { return fromModel(env, std::move(model)); });
    const Napi::Value promise = job->deferred.Promise();
    channel.submit(std::move(job));
    return promise;
  });
}

Napi::Value startConvertModel(const Napi::CallbackInfo& info, JobChannel& channel) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Object how = info[1].ToObject();
    auto job = std::make_shared<Job<bool>>(
        info.Env(), toCancellation(info[2]),
        [path = std::string(info[0].ToString()), to = std::string(need(how, "to").ToString()),
         libraries = toVector<std::string>(
             need(how, "libraries"), [](const Napi::Value& each) { return std::string(each.ToString()); })] {
          convertModel(path, to, libraries);
          return true;
        },
        [](Napi::Env env, bool&&) { return env.Undefined(); });
    const Napi::Value promise = job->deferred.Promise();
    channel.submit(std::move(job));
    return promise;
  });
}

Napi::Value startLoadTarget(const Napi::CallbackInfo& info, JobChannel& channel) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto job = std::make_shared<Job<std::shared_ptr<ScriptedTarget>>>(
        info.Env(), toCancellation(info[1]),
        [path = std::string(info[0].ToString())] { return loadScriptedTarget(path); },
        [](Napi::Env env, std::shared_ptr<ScriptedTarget>&& target) {
          return fromScriptedTarget(env, std::move(target));
        });
    const Napi::Value promise = job->deferred.Promise();
    channel.submit(std::move(job));
    return promise;
  });
}

Napi::Value startForward(const Napi::CallbackInfo& info, JobChannel& channel) {
  return startModelJob<OutputTree>(
      info, channel,
      [&] {
        return [inputs = toGivenInputs(info[1]), method = std::string(info[3].ToString())](
                   const Model& model, const Cancellation&) { return model.run(method, inputs); };
      },
      [](Napi::Env env, OutputTree&& output) { return fromOutput(env, output); });
}

Napi::Value startInspect(const Napi::CallbackInfo& info, JobChannel& channel) {
  return startModelJob<Inspection>(
      info, channel,
      [&] {
        return [inputs = toGivenInputs(info[1]), method = std::string(info[3].ToString())](
                   const Model& model, const Cancellation&) { return inspect(model, method, inputs); };
      },
      [](Napi::Env env, Inspection&& inspection) { return fromInspection(env, inspection); });
}

Napi::Value startWarmUp(const Napi::CallbackInfo& info, JobChannel& channel) {
  struct Nothing {};
  return startModelJob<Nothing>(
      info, channel,
      [&] {
        return [request = toWarmUpRequest(info[1])](const Model& model, const Cancellation& cancellation) {
          warmUp(model, request, cancellation);
          return Nothing{};
        };
      },
      [](Napi::Env env, Nothing&&) { return env.Undefined(); });
}

Napi::Value startExplain(const Napi::CallbackInfo& info, JobChannel& channel) {
  struct Timed {
    Explanation explanation;
    double queueMilliseconds;
  };
  return startModelJob<Timed>(
      info, channel,
      [&] {
        return [request = toExplainRequest(info[1], contextOf(info, channel)), queued = Clock::now(),
                progress = toProgress(info[3], channel.shared_from_this())](
                   const Model& model, const Cancellation& cancellation) {
          const std::chrono::duration<double, std::milli> waited = Clock::now() - queued;
          return Timed{explain(model, request, cancellation, progress), waited.count()};
        };
      },
      [](Napi::Env env, Timed&& timed) {
        return fromExplanation(env, timed.explanation, timed.queueMilliseconds);
      });
}

Napi::Value startAttribution(const Napi::CallbackInfo& info, JobChannel& channel) {
  return startModelJob<Attribution>(
      info, channel,
      [&] {
        return [request = toAttributionRequest(info[1], contextOf(info, channel)),
                progress = toProgress(info[3], channel.shared_from_this())](
                   const Model& model, const Cancellation& cancellation) {
          return attribution(model, request, cancellation, progress);
        };
      },
      [](Napi::Env env, Attribution&& attribution) { return fromAttribution(env, attribution); });
}

Napi::Value startPerturbedScores(const Napi::CallbackInfo& info, JobChannel& channel) {
  return startModelJob<PerturbedScores>(
      info, channel,
      [&] {
        return [request = toPerturbedScoresRequest(info[1], contextOf(info, channel))](
                   const Model& model, const Cancellation& cancellation) {
          return perturbedScores(model, request, cancellation);
        };
      },
      [](Napi::Env env, PerturbedScores&& result) { return fromPerturbedScores(env, result); });
}

Napi::Value startFactorize(const Napi::CallbackInfo& info, JobChannel& channel) {
  return startModelJob<Factorization>(
      info, channel,
      [&] {
        return [request = toFactorizationRequest(info[1]),
                progress = toProgress(info[3], channel.shared_from_this())](
                   const Model& model, const Cancellation& cancellation) {
          return factorize(model, request, cancellation, progress);
        };
      },
      [](Napi::Env env, Factorization&& factorization) { return fromFactorization(env, factorization); });
}

Napi::Value startDescribePlan(const Napi::CallbackInfo& info, JobChannel& channel) {
  return startModelJob<PlanDescription>(
      info, channel,
      [&] {
        const Napi::Object request = info[1].ToObject();
        return [method = std::string(request.Get("modelMethod").ToString()),
                layers = toTargetLayers(request.Get("layers")),
                optimize = request.Get("optimize").ToBoolean().Value()](const Model& model,
                                                                        const Cancellation&) {
          return describePlan(model, method, layers, optimize);
        };
      },
      [](Napi::Env env, PlanDescription&& plan) { return fromPlanDescription(env, plan); });
}

Napi::Value modelWeight(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::shared_ptr<ModelBox> box = toModelBox(info[0]);
    if (box->disposed) throw Failure("ERR_DISPOSED", "The model was disposed and cannot be used any more.");
    auto weight = box->model->weight(info[1].ToString());
    return weight ? Napi::Value(fromTensor(info.Env(), std::move(*weight))) : info.Env().Null();
  });
}

Napi::Value modelStatistics(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::shared_ptr<ModelBox> box = toModelBox(info[0]);
    Napi::Object object = Napi::Object::New(info.Env());
    const auto set = [&](const char* key, std::size_t count) { object.Set(key, static_cast<double>(count)); };
    set("done", box->doneJobs);
    set("failed", box->failedJobs);
    set("aborted", box->cancelledJobs);
    const std::size_t running = std::min(box->activeJobs, box->runningJobs->load());
    set("running", running);
    set("waiting", box->activeJobs - running);
    set("plans", box->model ? box->model->cachedPlans() : 0);
    set("packedBytes", box->model ? box->model->packedBytes() : 0);
    return object;
  });
}

Napi::Value modelWarnings(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::shared_ptr<ModelBox> box = toModelBox(info[0]);
    const auto warnings = box->model ? box->model->warnings() : std::vector<ModelWarning>{};
    Napi::Array list = Napi::Array::New(info.Env(), warnings.size());
    for (uint32_t index = 0; index < warnings.size(); ++index) {
      Napi::Object warning = Napi::Object::New(info.Env());
      warning.Set("code", warnings[index].code);
      warning.Set("message", warnings[index].message);
      warning.Set("modelMethod", warnings[index].method);
      list.Set(index, warning);
    }
    return list;
  });
}

Napi::Value disposeModel(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::shared_ptr<ModelBox> box = toModelBox(info[0]);
    const auto deferred = Napi::Promise::Deferred::New(info.Env());
    box->disposed = true;
    box->waitingForDisposal.push_back(deferred);
    releaseIfUnused(info.Env(), *box);
    return deferred.Promise();
  });
}

}  // namespace gradcam
