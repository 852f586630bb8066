#include "api/executors.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <fstream>
#include <mutex>
#include <system_error>
#include <thread>

#include "api/caching_allocator.h"
#include "api/device_memory.h"
#include "api/failure.h"
#include "core/process/intra_op_threads.h"

namespace gradcam {
namespace {

constexpr std::chrono::seconds kIdleBeforeRelease(2);
constexpr int kCoresPerExecutor = 8;

// Cores that the container's quota amounts to (Linux, control groups 2 and 1), or a very large number.
int coresOfQuota() {
  double quota = -1;
  double period = 0;
  std::ifstream unified("/sys/fs/cgroup/cpu.max");
  if (!(unified >> quota >> period)) {  // "max" is no number, and no quota
    std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") >> quota;
    std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_period_us") >> period;
  }
  if (quota <= 0 || period <= 0) return 1 << 20;
  return std::max(1, static_cast<int>(quota / period + 0.5));
}

ThreadCounts defaultCounts() {
  const int cores = std::max(1, std::min(intraOpThreads(), coresOfQuota()));
  const int executors = std::max(1, cores / kCoresPerExecutor);
  return {executors, cores / executors};
}

class ExecutorPool {
 public:
  explicit ExecutorPool(ThreadCounts counts) : counts_(counts) {}

  void add(std::function<void()> task) {
    {
      std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
      if (wantsThread() && !startThread() && threads_ == 0) {
        tasks_.pop_back();
        throw Failure("ERR_OUT_OF_MEMORY",
                      "No thread could be started: " + problem_ +
                          ". Raise the limits of this process on threads and memory, or free some.");
      }
    }
    available_.notify_one();
  }

  ThreadCounts counts() {
    std::lock_guard lock(mutex_);
    return counts_;
  }

  void setCounts(ThreadCounts counts) {
    {
      std::lock_guard lock(mutex_);
      counts_ = {std::max(1, counts.executors), std::max(1, counts.intraOpThreads)};
      while (wantsThread() && startThread()) continue;
    }
    available_.notify_all();
  }

 private:
  // A started thread takes its task when it comes to it.
  bool wantsThread() const {
    return idle_ + starting_ < static_cast<int>(tasks_.size()) && threads_ < counts_.executors;
  }

  // False where the system has no more threads to give: then those that run must do.
  bool startThread() {
    try {
      std::thread([this] { work(); }).detach();
      ++threads_;
      ++starting_;
      return true;
    } catch (const std::system_error& error) {
      problem_ = error.what();
      return false;
    }
  }

  // Gigabytes take a while: meanwhile others may queue and take tasks.
  void releaseMemory(std::unique_lock<std::mutex>& lock) {
    lock.unlock();
    releaseCachedMemory();
    releaseDeviceMemory();
    lock.lock();
    if (running_ > 0) keepFreedMemory();
  }

  void work() {
    int threadsSet = 0;
    bool released = false;
    std::unique_lock lock(mutex_);
    --starting_;
    while (true) {
      ++idle_;
      const auto ready = [this] { return !tasks_.empty() || threads_ > counts_.executors; };
      if (released) {
        available_.wait(lock, ready);
      } else if (!available_.wait_for(lock, kIdleBeforeRelease, ready)) {
        --idle_;
        if (idle_ + 1 == threads_) releaseMemory(lock);  // the others are idle, too
        released = true;
        continue;
      }
      --idle_;
      if (threads_ > counts_.executors) {
        --threads_;
        if (idle_ == threads_) releaseMemory(lock);  // the others may have stopped looking
        // The task this thread was woken for is another's now.
        available_.notify_one();
        return;
      }
      std::function<void()> task = std::move(tasks_.front());
      tasks_.pop_front();
      const int wanted = counts_.intraOpThreads;
      ++running_;
      lock.unlock();
      if (threadsSet != wanted) setIntraOpThreads(wanted);
      threadsSet = wanted;
      keepFreedMemory();
      task();
      task = nullptr;
      released = false;
      lock.lock();
      --running_;
    }
  }

  std::mutex mutex_;
  std::condition_variable available_;
  std::deque<std::function<void()>> tasks_;
  ThreadCounts counts_;
  int threads_ = 0;   // all that were started
  int starting_ = 0;  // of them, not yet at their first look for a task
  int idle_ = 0;
  int running_ = 0;      // a task each
  std::string problem_;  // why the last thread could not be started
};

ExecutorPool& pool() {
  // Never destroyed: idle threads wait on it until the process is gone.
  static auto* instance = new ExecutorPool(defaultCounts());
  return *instance;
}

}  // namespace

void runOnExecutor(std::function<void()> task) {
  pool().add(std::move(task));
}

ThreadCounts threadCounts() {
  return pool().counts();
}

void setThreadCounts(ThreadCounts counts) {
  pool().setCounts(counts);
}

}  // namespace gradcam
