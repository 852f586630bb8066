#pragma once

#include <cstddef>

namespace gradcam {

struct MemoryUse {
  std::size_t inUse;   // bytes of large blocks that tensors hold
  std::size_t cached;  // bytes of large blocks kept for the next tensor
  std::size_t peak;    // the most that was in use at once since the last release
};

// Makes LibTorch's CPU tensors keep large blocks for the next tensor of about their size instead of giving
// them back to the system, which would hand them out again page by page, zeroed, on every call. What is kept
// never makes the sum larger than the use alone once was. Call once, before the first tensor; further calls
// do nothing.
void installCachingAllocator();

// From now on freed blocks are kept, until the next release.
void keepFreedMemory();
// Gives what is kept back to the system, and all that is freed from now on.
void releaseCachedMemory();

MemoryUse memoryUse();

}  // namespace gradcam
