// Threads against the parts of the core that are shared between threads and need no LibTorch: the executors,
// cancelling, and the cache of large blocks. Compiled with a sanitizer by tools/checks/sanitizers/run.mjs;
// every check must hold.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "api/caching_allocator.h"
#include "api/cancellation.h"
#include "api/device_memory.h"
#include "api/executors.h"
#include "core/process/block_cache.h"
#include "core/process/intra_op_threads.h"

namespace gradcam {

// What the core takes from LibTorch: here a setting of the thread, and memory of the system.
namespace {
thread_local int threadsOfThisThread = 4;

void* allocate(std::size_t size) {
  void* data = nullptr;
  if (posix_memalign(&data, 64, size) != 0) throw std::bad_alloc();
  return data;
}

BlockCache& blocks() {
  static auto* instance = new BlockCache({&allocate, &std::free});
  return *instance;
}
}  // namespace

int intraOpThreads() {
  return threadsOfThisThread;
}
void setIntraOpThreads(int count) {
  threadsOfThisThread = count;
}
void keepFreedMemory() {
  blocks().keep();
}
void releaseDeviceMemory() noexcept {}
void releaseCachedMemory() {
  blocks().release();
}

}  // namespace gradcam

using namespace gradcam;

namespace {

void check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::exit(1);
}

template <typename Condition>
void waitUntil(Condition condition) {
  while (!condition()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

void runInThreads(int count, const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int index = 0; index < count; ++index) threads.emplace_back(body, index);
  for (std::thread& thread : threads) thread.join();
}

// Several environments queue jobs while another changes the number of executors; each job runs once, with
// what was written before it was queued, and blocks go from thread to thread.
void stressExecutors(int jobsOfEach) {
  constexpr int kCallers = 4;
  std::atomic<int> done{0};
  std::atomic<bool> ended{false};
  std::thread settings([&] {
    for (int round = 0; !ended; ++round) {
      setThreadCounts({1 + round % 4, 1 + round % 2});
      check(threadCounts().executors >= 1, "there is an executor");
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  });
  runInThreads(kCallers, [&](int caller) {
    for (int job = 0; job < jobsOfEach; ++job) {
      const std::size_t size = BlockCache::kSmallestBlock + 4096 * static_cast<std::size_t>(job % 50);
      auto* input = static_cast<int*>(blocks().take(size));
      input[0] = caller * jobsOfEach + job;
      auto stop = std::make_shared<Cancellation>();
      runOnExecutor([&done, input, stop, expected = input[0]] {
        check(input[0] == expected, "a job sees what its caller wrote");
        try {
          stop->throwIfCancelled();
        } catch (const Failure&) {
          check(stop->cancelled(), "a job that was cancelled stays so");
        }
        check(blocks().giveBack(input), "the block is the cache's");
        done.fetch_add(1);
      });
      if (job % 3 == 0) stop->cancel();
    }
  });
  waitUntil([&] { return done == kCallers * jobsOfEach; });
  ended = true;
  settings.join();
}

// Threads take and give back blocks, which never overlap, while others keep, release and count.
void stressBlocks(int rounds) {
  constexpr int kTakers = 4;
  std::atomic<int> working{kTakers};
  runInThreads(kTakers + 1, [&](int index) {
    if (index == kTakers) {
      for (int round = 0; working > 0; ++round) {
        if (round % 2 == 0) blocks().keep();
        if (round % 16 == 1) blocks().release();
        (void)blocks().use();
      }
      return;
    }
    std::minstd_rand random(static_cast<unsigned>(index) + 1);
    std::vector<std::pair<char*, std::size_t>> held;
    const auto giveBackLast = [&] {
      const auto [data, size] = held.back();
      held.pop_back();
      check(data[0] == static_cast<char>(index) && data[size - 1] == static_cast<char>(index), "no overlap");
      check(blocks().giveBack(data), "the block is the cache's");
    };
    for (int round = 0; round < rounds; ++round) {
      if (held.size() < 6 && random() % 2 == 0) {
        const std::size_t size = BlockCache::kSmallestBlock + random() % (4u << 20);
        auto* data = static_cast<char*>(blocks().take(size));
        data[0] = data[size - 1] = static_cast<char>(index);
        held.emplace_back(data, size);
      } else if (!held.empty()) {
        std::swap(held[random() % held.size()], held.back());
        giveBackLast();
      }
    }
    while (!held.empty()) giveBackLast();
    int other = 0;
    check(!blocks().giveBack(&other), "what is not the cache's is refused");
    --working;
  });
}

}  // namespace

int main(int count, char** arguments) {
  const int size = count > 1 ? std::atoi(arguments[1]) : 1;
  stressExecutors(2000 * size);
  stressBlocks(20000 * size);
  blocks().release();
  const MemoryUse left = blocks().use();
  check(left.inUse == 0 && left.blocks == 0 && left.cached == 0, "all memory went back");
  // Idle executors let their memory go by themselves.
  std::atomic<bool> ran{false};
  runOnExecutor([&] {
    blocks().giveBack(blocks().take(1 << 20));
    ran = true;
  });
  waitUntil([&] { return ran && blocks().use().cached == 0; });
#ifdef GRADCAM_PLANT_RACE
  int unprotected = 0;
  runInThreads(2, [&](int) {
    for (int round = 0; round < 1000; ++round) ++unprotected;
  });
#endif
#ifdef GRADCAM_PLANT_OVERFLOW
  auto* few = new int[4];
  std::printf("%d\n", few[3 + count]);
  delete[] few;
#endif
#ifdef GRADCAM_PLANT_LEAK
  auto* lost = new int[1000];
  lost[0] = count;
  lost = nullptr;
#endif
  std::puts("pools: fine");
}
