#include "core/block_cache.h"

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
  bool kept = false;        // free, and some of its pages were used and not returned
  Block* before = nullptr;  // in the same segment
  Block* behind = nullptr;

  bool wholeSegment() const { return before == nullptr && behind == nullptr; }
};

bool BlockCache::SmallerFirst::operator()(const Block* a, const Block* b) const {
  return a->size != b->size ? a->size < b->size : a->data < b->data;
}

void* BlockCache::take(std::size_t wanted) {
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

bool BlockCache::giveBack(void* data) {
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

void BlockCache::keep() {
  std::lock_guard lock(mutex_);
  keeping_ = true;
}

void BlockCache::release() {
  std::lock_guard lock(mutex_);
  keeping_ = false;
  const std::set<Block*, SmallerFirst> all = free_;
  for (Block* block : all) returnToSystem(block);
}

MemoryUse BlockCache::use() {
  std::lock_guard lock(mutex_);
  std::size_t kept = 0;
  for (const Block* block : free_) kept += block->kept ? block->size : 0;
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
  auto* block = new Block{static_cast<char*>(data), whole};
  free_.insert(block);
  return block;
}

void BlockCache::split(Block* block, std::size_t size) {
  auto* rest = new Block{block->data + size, block->size - size, true, block->kept, block, block->behind};
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
  block->kept = block->kept || behind->kept;
  block->behind = behind->behind;
  if (block->behind != nullptr) block->behind->before = block;
  delete behind;
}

void BlockCache::returnToSystem(Block* block) {
  if (block->wholeSegment()) {
    free_.erase(block);
    system_.free(block->data);
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

void BlockCache::releaseFreeSegments() {
  for (auto position = free_.begin(); position != free_.end();) {
    Block* block = *position++;
    if (block->wholeSegment()) returnToSystem(block);
  }
}

}  // namespace gradcam
