#pragma once

#include <napi.h>

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <utility>
#include <variant>

#include "api/cancellation.h"
#include "api/counted.h"
#include "binding/errors.h"

namespace gradcam {

// Work for an executor thread whose outcome settles a promise. A job owns everything it needs.
class JobBase : public Counted<JobBase> {
 public:
  JobBase(Napi::Env env, std::shared_ptr<Cancellation> stop)
      : deferred(Napi::Promise::Deferred::New(env)), cancellation(std::move(stop)) {}
  virtual ~JobBase() = default;
  JobBase(const JobBase&) = delete;
  JobBase& operator=(const JobBase&) = delete;

  virtual void execute() noexcept = 0;     // on an executor thread
  virtual void settle(Napi::Env env) = 0;  // on the JavaScript thread, once

  const Napi::Promise::Deferred deferred;
  const std::shared_ptr<Cancellation> cancellation;
};

// The way of one JavaScript environment's jobs to the executor threads and back. When the environment ends
// (the process exits, a worker is terminated), close() cancels the jobs, waits for those that run and lets
// nothing come back.
class JobChannel : public std::enable_shared_from_this<JobChannel>, public Counted<JobChannel> {
 public:
  static std::shared_ptr<JobChannel> create(Napi::Env env);
  void submit(std::shared_ptr<JobBase> job);
  // From any thread: runs the task on the JavaScript thread, soon and in order. False once closed: then it is
  // dropped. Does not keep the process alive.
  bool post(std::function<void(Napi::Env)> task);
  void close();

  // On the JavaScript thread: keeps a function from being collected, until it is let go or the environment
  // ends.
  std::size_t keep(const Napi::Function& function);
  // From any thread.
  void letGo(std::size_t function);
  // From any thread: as post(), with a function that is kept.
  bool postWith(std::size_t function, std::function<void(Napi::Env, const Napi::Function&)> use);

 private:
  void runOnThisExecutor(const std::shared_ptr<JobBase>& job);
  static void closeHook(void* channel);
  static void deliver(napi_env env, napi_value, void* channel, void* task);
  bool postLocked(std::function<void(Napi::Env)> task);
  void settle(Napi::Env env, JobBase& job);

  napi_env env_ = nullptr;
  napi_threadsafe_function toJavaScript_ = nullptr;
  // JavaScript thread only:
  std::size_t pending_ = 0;  // the process stays alive while above 0
  std::map<std::size_t, Napi::FunctionReference> functions_;
  std::size_t lastFunction_ = 0;

  std::mutex mutex_;
  std::condition_variable jobEnded_;
  std::set<std::shared_ptr<JobBase>> running_;
  bool closed_ = false;
};

enum class JobOutcome { Done, Failed, Cancelled };

// `work` runs on an executor and must not touch JavaScript; `convert` makes the promise's value; `finished`
// is called on the JavaScript thread before the promise settles, either way.
template <typename Result>
class Job final : public JobBase {
 public:
  Job(Napi::Env env,
      std::shared_ptr<Cancellation> stop,
      std::function<Result()> work,
      std::function<Napi::Value(Napi::Env, Result&&)> convert,
      std::function<void(Napi::Env, JobOutcome)> finished = {})
      : JobBase(env, std::move(stop)),
        work_(std::move(work)),
        convert_(std::move(convert)),
        finished_(std::move(finished)) {}

  void execute() noexcept override {
    const Cancellation::Scope ofThisJob(cancellation.get());
    try {
      cancellation->throwIfCancelled();
      Result result = work_();
      cancellation->throwIfCancelled();  // nobody waits: free it now, not when it is garbage collected
      outcome_.template emplace<Result>(std::move(result));
    } catch (...) {
      outcome_.template emplace<Failure>(toFailure(std::current_exception()));
    }
    work_ = nullptr;  // free the inputs here, not on the JavaScript thread
  }

  void settle(Napi::Env env) override {
    Napi::HandleScope scope(env);
    try {
      if (finished_) finished_(env, outcome());
      if (auto* failure = std::get_if<Failure>(&outcome_)) {
        deferred.Reject(toJsError(env, *failure).Value());
      } else {
        deferred.Resolve(convert_(env, std::move(std::get<Result>(outcome_))));
      }
    } catch (const Napi::Error& error) {
      deferred.Reject(error.Value());
    } catch (...) {
      deferred.Reject(toJsError(env, toFailure(std::current_exception())).Value());
    }
  }

 private:
  JobOutcome outcome() const {
    if (std::holds_alternative<Result>(outcome_)) return JobOutcome::Done;
    return cancellation->cancelled() ? JobOutcome::Cancelled : JobOutcome::Failed;
  }

  std::function<Result()> work_;
  std::function<Napi::Value(Napi::Env, Result&&)> convert_;
  std::function<void(Napi::Env, JobOutcome)> finished_;
  std::variant<Failure, Result> outcome_ = Failure("ERR_INTERNAL", "The job did not run.");
};

}  // namespace gradcam
