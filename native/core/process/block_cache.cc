#include "core/process/block_cache.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cstdint>
#include <exception>

namespace gradcam {
namespace {

constexpr std::size_t kPage = 4096;
// What is asked of the system at once, at least. Pages that nothing touched take no memory.
constexpr std::size_t kSmallestSegment = 32 * 1024 * 1024;

}  // namespace

// A piece of a segment. Neighbours are never both free.
struct BlockCache::Block {
  char* data;
  std::size_t size;
  bool free = true;
  bool resident = false;    // free, and some of its pages were used and not returned
  Block* before = nullptr;  // in the same segment
  Block* behind = nullptr;

  bool wholeSegment() const { return before == nullptr && behind == nullptr; }
};

bool BlockCache::SmallerFirst::operator()(const Block* a, const Block* b) const {
  return a->size != b->size ? a->size < b->size : a->data < b->data;
}

void* BlockCache::take(std::size_t wanted) {
  const std::size_t size = (wanted + kPage - 1) / kPage * kPage;
  std::unique_lock lock(mutex_);
  Block* block = findFree(size);
  if (block == nullptr) {
    // The free segments are all too small. Without them the sum stays near to what is in use.
    const Leaving segments = takeOut([](const Block* each) { return each->wholeSegment(); });
    lock.unlock();
    returnToSystem(segments);
    block = newSegment(size);
    lock.lock();
  } else {
    free_.erase(block);
  }
  if (block->size >= size + kSmallestBlock) split(block, size);
  block->free = false;
  used_.emplace(block->data, block);
  inUse_ += block->size;
  return block->data;
}

bool BlockCache::giveBack(void* data) {
  Leaving leaving;
  {
    const std::lock_guard lock(mutex_);
    const auto found = used_.find(data);
    if (found == used_.end()) return false;
    Block* block = found->second;
    used_.erase(found);
    inUse_ -= block->size;
    block->resident = true;
    block = makeFree(block);
    if (!keeping_) leaving = takeOut([block](const Block* each) { return each == block; });
  }
  returnToSystem(leaving);
  return true;
}

// Joined with its neighbours, where they are free; gives what it then is.
BlockCache::Block* BlockCache::makeFree(Block* block) {
  block->free = true;
  if (block->behind != nullptr && block->behind->free) swallowBehind(block);
  if (block->before != nullptr && block->before->free) {
    block = block->before;
    free_.erase(block);
    swallowBehind(block, /*isListed=*/false);
  }
  free_.insert(block);
  return block;
}

void BlockCache::keep() {
  std::lock_guard lock(mutex_);
  keeping_ = true;
}

void BlockCache::release() {
  Leaving all;
  {
    const std::lock_guard lock(mutex_);
    keeping_ = false;
    all = takeOut([](const Block*) { return true; });
  }
  returnToSystem(all);
}

MemoryUse BlockCache::use() {
  std::lock_guard lock(mutex_);
  std::size_t kept = 0;
  for (const Block* block : free_) kept += block->resident ? block->size : 0;
  return {inUse_, kept, used_.size()};
}

BlockCache::Block* BlockCache::findFree(std::size_t size) {
  Block wanted{nullptr, size};
  const auto found = free_.lower_bound(&wanted);
  return found == free_.end() ? nullptr : *found;
}

BlockCache::Block* BlockCache::newSegment(std::size_t size) {
  std::size_t whole = std::max(size, kSmallestSegment);
  void* data = nullptr;
  try {
    data = system_.allocate(whole);
  } catch (const std::exception&) {
    if (whole == size) throw;
    whole = size;  // memory is short: what is needed and no more
    data = system_.allocate(whole);
  }
  return new Block{static_cast<char*>(data), whole, /*free=*/false};
}

void BlockCache::split(Block* block, std::size_t size) {
  auto* rest = new Block{block->data + size, block->size - size, true, block->resident, block, block->behind};
  if (rest->behind != nullptr) rest->behind->before = rest;
  block->behind = rest;
  block->size = size;
  free_.insert(rest);
}

// Joins a free block with the one behind it, which is free too or has just become so.
void BlockCache::swallowBehind(Block* block, bool isListed) {
  Block* behind = block->behind;
  if (isListed) free_.erase(behind);
  block->size += behind->size;
  block->resident = block->resident || behind->resident;
  block->behind = behind->behind;
  if (block->behind != nullptr) block->behind->before = block;
  delete behind;
}

// Free blocks become nobody's, so that the lock need not be held while the system takes them.
template <typename IsWanted>
BlockCache::Leaving BlockCache::takeOut(const IsWanted& isWanted) {
  Leaving leaving;
  for (auto position = free_.begin(); position != free_.end();) {
    Block* block = *position;
    if (!isWanted(block)) {
      ++position;
      continue;
    }
    position = free_.erase(position);
    block->free = false;
    (block->wholeSegment() ? leaving.segments : leaving.parts).push_back(block);
  }
  return leaving;
}

// Without the lock.
void BlockCache::returnToSystem(const Leaving& leaving) {
  for (Block* block : leaving.segments) {
    system_.free(block->data);
    delete block;
  }
  if (leaving.parts.empty()) return;
#ifdef __linux__
  // The pages between blocks that are in use; they come back zeroed when they are touched again.
  for (const Block* block : leaving.parts) {
    const auto start = (reinterpret_cast<std::uintptr_t>(block->data) + kPage - 1) / kPage * kPage;
    const auto end = reinterpret_cast<std::uintptr_t>(block->data + block->size) / kPage * kPage;
    if (end > start) madvise(reinterpret_cast<void*>(start), end - start, MADV_DONTNEED);
  }
#endif
  const std::lock_guard lock(mutex_);
  for (Block* block : leaving.parts) {
    block->resident = false;
    makeFree(block);
  }
}

}  // namespace gradcam
