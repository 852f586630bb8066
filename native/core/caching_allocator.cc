#include "core/caching_allocator.h"

#include <algorithm>
#include <list>
#include <map>
#include <mutex>
#include <unordered_map>

#include "core/torch.h"

namespace gradcam {
namespace {

// Smaller blocks are malloc's business: it keeps them anyway.
constexpr std::size_t kSmallestBlock = 256 * 1024;

// Sizes in steps of an eighth of their power of two, so that blocks fit again for batches of about the same
// size. What is rounded up is never touched, so it takes no memory.
std::size_t roundUp(std::size_t size) {
  std::size_t step = kSmallestBlock / 8;
  while (step * 16 <= size) step *= 2;
  return (size + step - 1) / step * step;
}

class BlockCache {
 public:
  void* take(std::size_t size) {
    const std::size_t rounded = roundUp(size);
    std::lock_guard lock(mutex_);
    Block block = findFree(rounded);
    if (block.data == nullptr) {
      makeRoomFor(rounded);
      block = {allocate(rounded), rounded};
    }
    used_.emplace(block.data, block.size);
    inUse_ += block.size;
    peak_ = std::max(peak_, inUse_);
    return block.data;
  }

  // False where the memory is not from here.
  bool giveBack(void* data) {
    std::lock_guard lock(mutex_);
    const auto found = used_.find(data);
    if (found == used_.end()) return false;
    const Block block{data, found->second};
    used_.erase(found);
    inUse_ -= block.size;
    if (!keeping_) {
      c10::free_cpu(data);
      return true;
    }
    cached_ += block.size;
    bySize_.emplace(block.size, free_.insert(free_.begin(), block));
    return true;
  }

  void keep() {
    std::lock_guard lock(mutex_);
    keeping_ = true;
  }

  void release() {
    std::lock_guard lock(mutex_);
    keeping_ = false;
    while (!free_.empty()) dropOldest();
    peak_ = inUse_;
  }

  MemoryUse use() {
    std::lock_guard lock(mutex_);
    return {inUse_, cached_, peak_};
  }

 private:
  struct Block {
    void* data = nullptr;
    std::size_t size = 0;
  };
  using FreeBlocks = std::list<Block>;

  void* allocate(std::size_t size) {
    try {
      return c10::alloc_cpu(size);
    } catch (const c10::Error&) {
      if (free_.empty()) throw;
      while (!free_.empty()) dropOldest();
      return c10::alloc_cpu(size);
    }
  }

  Block findFree(std::size_t size) {
    const auto found = bySize_.lower_bound(size);
    // A block more than an eighth larger would be wasted on this tensor.
    if (found == bySize_.end() || found->first > size + size / 8) return {};
    const Block block = *found->second;
    free_.erase(found->second);
    bySize_.erase(found);
    cached_ -= block.size;
    return block;
  }

  void makeRoomFor(std::size_t size) {
    while (!free_.empty() && inUse_ + cached_ + size > std::max(peak_, inUse_ + size)) dropOldest();
  }

  void dropOldest() {
    const auto oldest = std::prev(free_.end());
    auto [entry, end] = bySize_.equal_range(oldest->size);
    entry = std::find_if(entry, end, [&](const auto& candidate) { return candidate.second == oldest; });
    bySize_.erase(entry);
    cached_ -= oldest->size;
    c10::free_cpu(oldest->data);
    free_.erase(oldest);
  }

  std::mutex mutex_;
  std::unordered_map<void*, std::size_t> used_;
  FreeBlocks free_;  // most recently freed first
  std::multimap<std::size_t, FreeBlocks::iterator> bySize_;
  bool keeping_ = false;
  std::size_t inUse_ = 0, cached_ = 0, peak_ = 0;
};

// Never destroyed: tensors of threads that outlive main() are freed into it.
BlockCache& cache() {
  static auto* instance = new BlockCache;
  return *instance;
}

class CachingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t size) override {
    void* data = size < kSmallestBlock ? c10::alloc_cpu(size) : cache().take(size);
    return {data, data, size < kSmallestBlock ? &c10::free_cpu : &freeBlock,
            c10::Device(c10::DeviceType::CPU)};
  }

  // For memory whose size the owner does not tell on the way back, oneDNN's for one.
  c10::DeleterFnPtr raw_deleter() const override { return &freeBlock; }

  void copy_data(void* destination, const void* source, std::size_t size) const override {
    default_copy_data(destination, source, size);
  }

 private:
  static void freeBlock(void* data) {
    if (data != nullptr && !cache().giveBack(data)) c10::free_cpu(data);
  }
};

}  // namespace

void installCachingAllocator() {
  static std::once_flag once;
  std::call_once(once, [] { c10::SetCPUAllocator(new CachingAllocator); });
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

}  // namespace gradcam
