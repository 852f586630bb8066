#pragma once

#include <cstddef>

namespace gradcam {

// Makes LibTorch's CPU tensors keep the memory of large blocks for the next tensors instead of giving it back
// to the system, which would hand it out again page by page, zeroed, on every call. Call once, before the
// first tensor; further calls do nothing.
void installCachingAllocator();

// From now on freed blocks are kept, until the next release.
void keepFreedMemory();
// Gives what is kept back to the system, and all that is freed from now on.
void releaseCachedMemory();

struct MemoryUse {
  std::size_t inUse;   // bytes of large blocks that tensors hold
  std::size_t cached;  // bytes of large blocks kept for the next tensors
  std::size_t blocks;  // large blocks that tensors hold
};
MemoryUse memoryUse();

// Blocks of any size that LibTorch's CPU allocator has given out and not got back.
struct LiveMemory {
  std::size_t blocks;
  std::size_t bytes;
};
LiveMemory liveMemory();

}  // namespace gradcam
