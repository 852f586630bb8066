#include "core/caching_allocator.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <set>
#include <typeinfo>
#include <unordered_map>

#include "core/torch.h"

namespace gradcam {
namespace {

// Smaller blocks are malloc's business: it keeps them anyway.
constexpr std::size_t kSmallestBlock = 256 * 1024;
constexpr std::size_t kPage = 4096;
// What is asked of the system at once, at least. Pages that nothing touched take no memory.
constexpr std::size_t kSmallestSegment = 32 * 1024 * 1024;

// A piece of a segment. Neighbours are never both free.
struct Block {
  char* data;
  std::size_t size;
  bool free = true;
  bool kept = false;        // free, and some of its pages were used and not returned
  Block* before = nullptr;  // in the same segment
  Block* behind = nullptr;

  bool wholeSegment() const { return before == nullptr && behind == nullptr; }
};

struct SmallerFirst {
  bool operator()(const Block* a, const Block* b) const {
    return a->size != b->size ? a->size < b->size : a->data < b->data;
  }
};

class BlockCache {
 public:
  void* take(std::size_t wanted) {
    const std::size_t size = (wanted + kPage - 1) / kPage * kPage;
    std::lock_guard lock(mutex_);
    Block* block = findFree(size);
    if (block == nullptr) {
      // The free segments are all too small. Without them the sum stays near to what is in use.
      releaseFreeSegments();
      block = newSegment(size);
    }
    free_.erase(block);
    if (block->size >= size + kSmallestBlock) split(block, size);
    block->free = false;
    used_.emplace(block->data, block);
    inUse_ += block->size;
    return block->data;
  }

  // False where the memory is not from here.
  bool giveBack(void* data) {
    std::lock_guard lock(mutex_);
    const auto found = used_.find(data);
    if (found == used_.end()) return false;
    Block* block = found->second;
    used_.erase(found);
    inUse_ -= block->size;
    block->free = true;
    block->kept = true;
    if (block->behind != nullptr && block->behind->free) swallowBehind(block);
    if (block->before != nullptr && block->before->free) {
      block = block->before;
      free_.erase(block);
      swallowBehind(block, /*isListed=*/false);
    }
    free_.insert(block);
    if (!keeping_) returnToSystem(block);
    return true;
  }

  void keep() {
    std::lock_guard lock(mutex_);
    keeping_ = true;
  }

  void release() {
    std::lock_guard lock(mutex_);
    keeping_ = false;
    const std::set<Block*, SmallerFirst> all = free_;
    for (Block* block : all) returnToSystem(block);
  }

  MemoryUse use() {
    std::lock_guard lock(mutex_);
    std::size_t kept = 0;
    for (const Block* block : free_) kept += block->kept ? block->size : 0;
    return {inUse_, kept};
  }

 private:
  Block* findFree(std::size_t size) {
    Block wanted{nullptr, size};
    const auto found = free_.lower_bound(&wanted);
    return found == free_.end() ? nullptr : *found;
  }

  Block* newSegment(std::size_t size) {
    std::size_t whole = std::max(size, kSmallestSegment);
    void* data = nullptr;
    try {
      data = c10::alloc_cpu(whole);
    } catch (const c10::Error&) {
      if (whole == size) throw;
      whole = size;  // memory is short: what is needed and no more
      data = c10::alloc_cpu(whole);
    }
    auto* block = new Block{static_cast<char*>(data), whole};
    free_.insert(block);
    return block;
  }

  void split(Block* block, std::size_t size) {
    auto* rest = new Block{block->data + size, block->size - size, true, block->kept, block, block->behind};
    if (rest->behind != nullptr) rest->behind->before = rest;
    block->behind = rest;
    block->size = size;
    free_.insert(rest);
  }

  // Joins a free block with the one behind it, which is free too or has just become so.
  void swallowBehind(Block* block, bool isListed = true) {
    Block* behind = block->behind;
    if (isListed) free_.erase(behind);
    block->size += behind->size;
    block->kept = block->kept || behind->kept;
    block->behind = behind->behind;
    if (block->behind != nullptr) block->behind->before = block;
    delete behind;
  }

  void returnToSystem(Block* block) {
    if (block->wholeSegment()) {
      free_.erase(block);
      c10::free_cpu(block->data);
      delete block;
      return;
    }
    block->kept = false;
#ifdef __linux__
    // The pages between blocks that are in use; they come back zeroed when they are touched again.
    const auto start = (reinterpret_cast<std::uintptr_t>(block->data) + kPage - 1) / kPage * kPage;
    const auto end = reinterpret_cast<std::uintptr_t>(block->data + block->size) / kPage * kPage;
    if (end > start) madvise(reinterpret_cast<void*>(start), end - start, MADV_DONTNEED);
#endif
  }

  void releaseFreeSegments() {
    for (auto position = free_.begin(); position != free_.end();) {
      Block* block = *position++;
      if (block->wholeSegment()) returnToSystem(block);
    }
  }

  std::mutex mutex_;
  std::unordered_map<void*, Block*> used_;
  std::set<Block*, SmallerFirst> free_;
  bool keeping_ = false;
  std::size_t inUse_ = 0;
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
  std::call_once(once, [] {
    // Another copy of this addon in the process may have installed its own. Memory must go back to the
    // allocator it came from, and oneDNN asks for the process's allocator anew when it frees: leave that one.
    const c10::Allocator& installed = *c10::GetCPUAllocator();
    if (std::strcmp(typeid(installed).name(), typeid(CachingAllocator).name()) == 0) return;
    c10::SetCPUAllocator(new CachingAllocator);
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

}  // namespace gradcam
