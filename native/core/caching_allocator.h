#pragma once

#include <cstddef>

namespace gradcam {

struct MemoryUse {
  std::size_t inUse;   // bytes of large blocks that tensors hold
  std::size_t cached;  // bytes of large blocks kept for the next tensors
};

// Makes LibTorch's CPU tensors keep the memory of large blocks for the next tensors instead of giving it back
// to the system, which would hand it out again page by page, zeroed, on every call. Blocks are cut from
// segments, the smallest that fits first, and joined again; when nothing fits, free segments go back before a
// new one is asked for. Call once, before the first tensor; further calls do nothing.
void installCachingAllocator();

// From now on freed blocks are kept, until the next release.
void keepFreedMemory();
// Gives what is kept back to the system, and all that is freed from now on.
void releaseCachedMemory();

MemoryUse memoryUse();

}  // namespace gradcam
