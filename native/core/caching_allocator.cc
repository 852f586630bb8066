#include "core/caching_allocator.h"

#include <cstring>
#include <mutex>
#include <typeinfo>

#include "core/torch.h"

namespace gradcam {
namespace {

// Never destroyed: tensors of threads that outlive main() are freed into it.
BlockCache& cache() {
  static auto* instance = new BlockCache({&c10::alloc_cpu, &c10::free_cpu});
  return *instance;
}

class CachingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t size) override {
    void* data = size < BlockCache::kSmallestBlock ? c10::alloc_cpu(size) : cache().take(size);
    return {data, data, size < BlockCache::kSmallestBlock ? &c10::free_cpu : &freeBlock,
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
