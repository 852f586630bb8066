#pragma once

#include <functional>

namespace gradcam {

struct ThreadCounts {
  int executors;       // threads that run jobs, one job each
  int intraOpThreads;  // threads LibTorch uses inside one operation of a job
};

// Queues `task` for the library's own threads, which start with the first task. Libuv's four threads are
// shared with the file system and DNS, so nothing heavy runs there. The threads live as long as the process.
// `task` must not throw.
void runOnExecutor(std::function<void()> task);

ThreadCounts threadCounts();

}  // namespace gradcam
