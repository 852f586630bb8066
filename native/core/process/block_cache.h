#pragma once

#include <cstddef>
#include <mutex>
#include <set>
#include <unordered_map>
#include <vector>

#include "api/caching_allocator.h"

namespace gradcam {

// Where segments come from and go to. `allocate` throws where there is no memory.
struct SystemMemory {
  void* (*allocate)(std::size_t size);
  void (*free)(void* data);
};

// Large blocks of memory, cut from segments, the smallest that fits first, and joined again; when nothing
// fits, free segments go back before a new one is asked for. Any thread may call it.
class BlockCache {
 public:
  // Smaller blocks are malloc's business: it keeps them anyway.
  static constexpr std::size_t kSmallestBlock = 256 * 1024;

  explicit BlockCache(SystemMemory system) : system_(system) {}
  BlockCache(const BlockCache&) = delete;
  BlockCache& operator=(const BlockCache&) = delete;

  void* take(std::size_t size);
  // False where the memory is not from here.
  bool giveBack(void* data);
  // From now on freed blocks are kept, until the next release.
  void keep();
  // Gives what is kept back to the system, and all that is freed from now on.
  void release();
  MemoryUse use();

 private:
  struct Block;
  // Free blocks on their way back to the system: whole segments, and those between blocks that are in use.
  struct Leaving {
    std::vector<Block*> segments, parts;
  };
  struct SmallerFirst {
    bool operator()(const Block* a, const Block* b) const;
  };

  Block* findFree(std::size_t size);
  Block* newSegment(std::size_t size);
  void split(Block* block, std::size_t size);
  void swallowBehind(Block* block, bool isListed = true);
  Block* makeFree(Block* block);
  template <typename IsWanted>
  Leaving takeOut(const IsWanted& isWanted);
  void returnToSystem(const Leaving& leaving);

  const SystemMemory system_;
  std::mutex mutex_;
  std::unordered_map<void*, Block*> used_;
  std::set<Block*, SmallerFirst> free_;
  bool keeping_ = false;
  std::size_t inUse_ = 0;
};

}  // namespace gradcam
