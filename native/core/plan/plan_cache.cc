#include "core/plan/plan_cache.h"

#include <algorithm>
#include <chrono>

#include "api/cancellation.h"

namespace gradcam {
namespace {

constexpr std::chrono::milliseconds kLookAtCancellation(10);

bool isReady(const std::shared_future<std::shared_ptr<const Plan>>& plan) {
  return plan.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

}  // namespace

std::shared_ptr<const Plan> PlanCache::get(const std::string& key, const Build& build) {
  while (true) {
    std::unique_lock lock(mutex_);
    const auto found =
        std::find_if(recent_.begin(), recent_.end(), [&](const Entry& entry) { return entry.key == key; });
    if (found == recent_.end()) {
      Promise promise;
      recent_.push_front({key, promise.get_future().share(), &promise});
      if (recent_.size() > most_) recent_.pop_back();
      lock.unlock();
      return built(promise, build);
    }
    const auto known = found->plan;
    recent_.splice(recent_.begin(), recent_, found);
    lock.unlock();
    while (known.wait_for(kLookAtCancellation) != std::future_status::ready) throwIfCancelled();
    if (auto plan = known.get()) return plan;
    // The job that built it was cancelled: whoever asks next builds it.
  }
}

std::shared_ptr<const Plan> PlanCache::built(Promise& promise, const Build& build) {
  try {
    auto plan = build();
    promise.set_value(plan);
    return plan;
  } catch (...) {
    forget(promise);
    const Cancellation* cancellation = Cancellation::ofThisThread();
    if (cancellation != nullptr && cancellation->cancelled()) {
      promise.set_value(nullptr);
    } else {
      promise.set_exception(std::current_exception());
    }
    throw;
  }
}

// Its entry may have left already, and another have come for the same key.
void PlanCache::forget(const Promise& builder) {
  const std::lock_guard lock(mutex_);
  recent_.remove_if([&](const Entry& entry) { return entry.builder == &builder && !isReady(entry.plan); });
}

std::size_t PlanCache::size() const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::size_t>(
      std::count_if(recent_.begin(), recent_.end(), [](const Entry& entry) { return isReady(entry.plan); }));
}

}  // namespace gradcam
