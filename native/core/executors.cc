#include "core/executors.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "core/torch.h"

namespace gradcam {
namespace {

class ExecutorPool {
 public:
  explicit ExecutorPool(ThreadCounts counts) : counts_(counts) {}

  void add(std::function<void()> task) {
    {
      std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
      if (started_ < counts_.executors) {
        ++started_;
        std::thread([this] { work(); }).detach();
      }
    }
    available_.notify_one();
  }

  ThreadCounts counts() const { return counts_; }

 private:
  void work() {
    at::set_num_threads(counts_.intraOpThreads);  // a thread's own setting with OpenMP
    while (true) {
      std::function<void()> task;
      {
        std::unique_lock lock(mutex_);
        available_.wait(lock, [this] { return !tasks_.empty(); });
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task();
    }
  }

  const ThreadCounts counts_;
  std::mutex mutex_;
  std::condition_variable available_;
  std::deque<std::function<void()>> tasks_;
  int started_ = 0;
};

ExecutorPool& pool() {
  // Never destroyed: idle threads wait on it until the process is gone.
  static auto* instance = new ExecutorPool({1, at::get_num_threads()});
  return *instance;
}

}  // namespace

void runOnExecutor(std::function<void()> task) {
  pool().add(std::move(task));
}

ThreadCounts threadCounts() {
  return pool().counts();
}

}  // namespace gradcam
