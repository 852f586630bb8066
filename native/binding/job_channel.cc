#include "binding/job_channel.h"

#include "api/executors.h"

namespace gradcam {

std::shared_ptr<JobChannel> JobChannel::create(Napi::Env env) {
  auto channel = std::make_shared<JobChannel>();
  channel->env_ = env;
  const napi_value name = Napi::String::New(env, "node-gradcam jobs");
  if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, channel.get(),
                                      deliver, &channel->toJavaScript_) != napi_ok) {
    throw Napi::Error::New(env, "node-gradcam could not create its job channel.");
  }
  napi_unref_threadsafe_function(env, channel->toJavaScript_);
  // Hooks run last-in first-out: added behind the function's own, ours closes the channel while it still
  // exists.
  napi_add_env_cleanup_hook(env, closeHook, new std::shared_ptr<JobChannel>(channel));
  return channel;
}

void JobChannel::submit(std::shared_ptr<JobBase> job) {
  runOnExecutor([channel = shared_from_this(), job = std::move(job)] { channel->runOnThisExecutor(job); });
  if (pending_++ == 0) napi_ref_threadsafe_function(env_, toJavaScript_);
}

void JobChannel::runOnThisExecutor(const std::shared_ptr<JobBase>& job) {
  {
    std::lock_guard lock(mutex_);
    if (closed_) return;
    running_.insert(job);
  }
  job->execute();
  std::lock_guard lock(mutex_);
  running_.erase(job);
  postLocked([this, job](Napi::Env env) { settle(env, *job); });
  jobEnded_.notify_all();
}

bool JobChannel::post(std::function<void(Napi::Env)> task) {
  std::lock_guard lock(mutex_);
  return postLocked(std::move(task));
}

bool JobChannel::postLocked(std::function<void(Napi::Env)> task) {
  if (closed_) return false;
  auto* posted = new std::function<void(Napi::Env)>(std::move(task));
  if (napi_call_threadsafe_function(toJavaScript_, posted, napi_tsfn_nonblocking) == napi_ok) return true;
  delete posted;
  return false;
}

void JobChannel::settle(Napi::Env env, JobBase& job) {
  if (--pending_ == 0) napi_unref_threadsafe_function(env, toJavaScript_);
  job.settle(env);
}

void JobChannel::deliver(napi_env env, napi_value, void*, void* data) {
  const std::unique_ptr<std::function<void(Napi::Env)>> task(
      static_cast<std::function<void(Napi::Env)>*>(data));
  if (env == nullptr) return;  // the environment is ending: nobody waits
  try {
    (*task)(env);
  } catch (const Napi::Error& error) {
    napi_fatal_exception(env, error.Value());  // a callback of the user's threw: as in any event handler
  } catch (...) {  // as uncaught there, not through Node's own frames, which would end the process
    napi_fatal_exception(env, toJsError(env, toFailure(std::current_exception())).Value());
  }
}

void JobChannel::close() {
  std::unique_lock lock(mutex_);
  closed_ = true;
  for (const auto& job : running_) job->cancellation->cancel();
  jobEnded_.wait(lock, [this] { return running_.empty(); });
}

void JobChannel::closeHook(void* data) {
  const std::unique_ptr<std::shared_ptr<JobChannel>> channel(static_cast<std::shared_ptr<JobChannel>*>(data));
  (*channel)->close();
  (*channel)->functions_.clear();  // later there would be no environment to free them in
}

std::size_t JobChannel::keep(const Napi::Function& function) {
  functions_.emplace(++lastFunction_, Napi::Persistent(function));
  return lastFunction_;
}

void JobChannel::letGo(std::size_t function) {
  post([this, function](Napi::Env) { functions_.erase(function); });
}

bool JobChannel::postWith(std::size_t function, std::function<void(Napi::Env, const Napi::Function&)> use) {
  return post([this, function, use = std::move(use)](Napi::Env env) {
    const auto kept = functions_.find(function);
    if (kept == functions_.end()) return;  // the environment is ending
    const Napi::HandleScope scope(env);
    use(env, kept->second.Value());
  });
}

}  // namespace gradcam
