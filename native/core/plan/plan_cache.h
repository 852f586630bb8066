#pragma once

#include <functional>
#include <future>
#include <list>
#include <memory>
#include <mutex>
#include <string>

#include "core/plan/plan.h"

namespace gradcam {

// Plans by what they are for: each is built once, by the job that asks first, and shared. While one is built
// others can be had. The least recently used leave first. Any thread may ask.
class PlanCache {
 public:
  using Build = std::function<std::shared_ptr<const Plan>()>;

  explicit PlanCache(std::size_t most) : most_(most) {}

  // Throws what `build` throws, to all that wait for it; then nothing is kept.
  std::shared_ptr<const Plan> get(const std::string& key, const Build& build);
  // How many plans are there; never waits for one that is being built.
  std::size_t size() const;

 private:
  // Null: the job that built it was cancelled.
  using Promise = std::promise<std::shared_ptr<const Plan>>;
  struct Entry {
    std::string key;
    std::shared_future<std::shared_ptr<const Plan>> plan;
    const Promise* builder;
  };

  std::shared_ptr<const Plan> built(Promise& promise, const Build& build);
  void forget(const Promise& builder);

  const std::size_t most_;
  mutable std::mutex mutex_;
  std::list<Entry> recent_;  // most recently used first
};

}  // namespace gradcam
