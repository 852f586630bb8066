#include "binding/score_function.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>

#include "binding/conversions.h"
#include "binding/javascript_function.h"

namespace gradcam {
namespace {

// One question of an executor and the JavaScript thread's answer. Shared, since either may be gone first.
class ScoreRequest {
 public:
  explicit ScoreRequest(TensorHandle output) : output_(std::move(output)) {}

  // On the JavaScript thread.
  void answer(Napi::Env env, const Napi::Function& function) {
    std::optional<TensorHandle> score;
    std::optional<Failure> failure;
    try {
      score = toTensor(function.Call({fromTensor(env, output_)}));
    } catch (const Napi::Error& error) {
      failure = Failure("ERR_TARGET_FUNCTION", "The target function failed: " + error.Message());
    } catch (...) {
      failure = toFailure(std::current_exception());
    }
    const std::lock_guard lock(mutex_);
    score_ = std::move(score);
    failure_ = std::move(failure);
    answered_.notify_one();
  }

  // On the executor.
  TensorHandle wait(const Cancellation& cancellation) {
    std::unique_lock lock(mutex_);
    // Cancellation has no signal of its own; looking every few milliseconds is soon enough.
    while (!answered_.wait_for(lock, std::chrono::milliseconds(10), [this] { return score_ || failure_; }))
      cancellation.throwIfCancelled();
    if (failure_) throw *failure_;
    return *score_;
  }

 private:
  const TensorHandle output_;
  std::mutex mutex_;
  std::condition_variable answered_;
  std::optional<TensorHandle> score_;
  std::optional<Failure> failure_;
};

}  // namespace

std::function<TensorHandle(const TensorHandle&)> toScoreFunction(
    const Napi::Function& function,
    std::shared_ptr<JobChannel> channel,
    std::shared_ptr<const Cancellation> cancellation) {
  const auto held = std::make_shared<const JavaScriptFunction>(function, std::move(channel));
  return [held, cancellation = std::move(cancellation)](const TensorHandle& output) {
    const auto request = std::make_shared<ScoreRequest>(output);
    const bool asked =
        held->post([request](Napi::Env env, const Napi::Function& callee) { request->answer(env, callee); });
    if (!asked) throw Failure("ERR_INTERNAL", "The environment of the target function has ended.");
    return request->wait(*cancellation);
  };
}

}  // namespace gradcam
