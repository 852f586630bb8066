#include "api/caching_allocator.h"

#if defined(__linux__) && defined(__x86_64__)
#include <malloc.h>
#endif

#include <atomic>
#include <cstdint>
#include <mutex>

#include "api/cancellation.h"
#include "core/process/block_cache.h"
#include "core/process/torch.h"

namespace gradcam {
namespace {

// Never destroyed: tensors of threads that outlive main() are freed into it.
BlockCache& cache() {
  static auto* instance = new BlockCache({&c10::alloc_cpu, &c10::free_cpu});
  return *instance;
}

// What is too small for the cache, counted. It is malloc's; its size is not told when it is freed.
class SmallBlocks {
 public:
  void* take(std::size_t size) {
    void* data = c10::alloc_cpu(size);
    if (data != nullptr) count(1, bytesOf(data));
    return data;
  }

  void giveBack(void* data) {
    count(-1, -bytesOf(data));
    c10::free_cpu(data);
  }

  LiveMemory live() const {
    return {static_cast<std::size_t>(blocks_.load(std::memory_order_relaxed)),
            static_cast<std::size_t>(bytes_.load(std::memory_order_relaxed))};
  }

 private:
  void count(std::int64_t blocks, std::int64_t bytes) {
    blocks_.fetch_add(blocks, std::memory_order_relaxed);
    bytes_.fetch_add(bytes, std::memory_order_relaxed);
  }

  static std::int64_t bytesOf([[maybe_unused]] void* data) {
#if defined(__linux__) && defined(__x86_64__)
    return static_cast<std::int64_t>(malloc_usable_size(data));
#else
    return 0;  // LibTorch may take them from another allocator, which cannot be asked
#endif
  }

  std::atomic<std::int64_t> blocks_{0}, bytes_{0};
};

SmallBlocks smallBlocks;

class CachingAllocator final : public c10::Allocator {
 public:
  // Also where a cancelled job ends: every operation takes memory for what it gives, forward and back, and
  // its caller knows that there may be none.
  c10::DataPtr allocate(std::size_t size) override {
    throwIfCancelled();
    const bool small = size < BlockCache::kSmallestBlock;
    void* data = small ? smallBlocks.take(size) : cache().take(size);
    return {data, data, small ? &freeSmallBlock : &freeBlock, c10::Device(c10::DeviceType::CPU)};
  }

  // For memory whose size the owner does not tell on the way back, oneDNN's for one.
  c10::DeleterFnPtr raw_deleter() const override { return &freeBlock; }

  void copy_data(void* destination, const void* source, std::size_t size) const override {
    default_copy_data(destination, source, size);
  }

 private:
  static void freeSmallBlock(void* data) {
    if (data != nullptr) smallBlocks.giveBack(data);
  }
  static void freeBlock(void* data) {
    if (data != nullptr && !cache().giveBack(data)) smallBlocks.giveBack(data);
  }
};

}  // namespace

void installCachingAllocator() {
  static std::once_flag once;
  std::call_once(once, [] {
    // Another addon, or another copy of this one, may have installed its own. Memory must go back to the
    // allocator it came from, and oneDNN asks for the process's allocator anew when it frees: leave that one,
    // and by a priority above the usual let none replace ours.
    if (c10::GetCPUAllocator() != c10::GetDefaultCPUAllocator()) return;
    c10::SetCPUAllocator(new CachingAllocator, /*priority=*/1);
  });
}

void keepFreedMemory() {
  cache().keep();
}

void releaseCachedMemory() {
  cache().release();
}

MemoryUse memoryUse() {
  return cache().use();
}

LiveMemory liveMemory() {
  const MemoryUse large = cache().use();
  const LiveMemory small = smallBlocks.live();
  return {large.blocks + small.blocks, large.inUse + small.bytes};
}

}  // namespace gradcam
