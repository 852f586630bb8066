#pragma once

#include <functional>

namespace gradcam {

struct ThreadCounts {
  int executors;       // threads that run jobs, one job each
  int intraOpThreads;  // threads LibTorch uses inside one operation of a job
};

// Queues `task` for the library's own threads, which start when needed. Libuv's four threads are shared with
// the file system and DNS, so nothing heavy runs there. The threads live as long as the process; when all
// have been idle for a while, memory kept for the next job goes back to the system. `task` must not throw.
// Throws Failure ERR_OUT_OF_MEMORY where no thread can be started; then the task is not kept.
void runOnExecutor(std::function<void()> task);

// Of this process: at first one executor per eight cores that the process may use (its affinity and its
// container's quota), with the cores divided among them.
ThreadCounts threadCounts();
// Takes effect with the next jobs. Both counts are at least 1.
void setThreadCounts(ThreadCounts counts);

}  // namespace gradcam
