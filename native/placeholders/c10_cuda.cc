// Stands in for libc10_cuda where LibTorch is without it. torchvision's CUDA build names these functions in
// its CUDA kernels, which nothing can reach without a CUDA device; what they are called with does not matter.
#include <stdexcept>

namespace {

[[noreturn]] void refuse() {
  throw std::runtime_error("a CUDA kernel was called, but this LibTorch has no CUDA");
}

}  // namespace

#define GRADCAM_REFUSE(name) \
  extern "C" __attribute__((visibility("default"))) void name() { refuse(); }

// The mangled names of functions of at::cuda and c10::cuda, versions 2.11 to 2.13.
GRADCAM_REFUSE(_ZN2at4cuda26getCurrentDevicePropertiesEv)
GRADCAM_REFUSE(_ZN3c104cuda12device_countEv)
GRADCAM_REFUSE(_ZN3c104cuda14ExchangeDeviceEa)
GRADCAM_REFUSE(_ZN3c104cuda14MaybeSetDeviceEa)
GRADCAM_REFUSE(_ZN3c104cuda17getStreamFromPoolEba)
GRADCAM_REFUSE(_ZN3c104cuda17getStreamFromPoolEia)
GRADCAM_REFUSE(_ZN3c104cuda20getCurrentCUDAStreamEa)
GRADCAM_REFUSE(_ZN3c104cuda20getDefaultCUDAStreamEa)
GRADCAM_REFUSE(_ZN3c104cuda20setCurrentCUDAStreamENS0_10CUDAStreamE)
GRADCAM_REFUSE(_ZN3c104cuda29c10_cuda_check_implementationEiPKcS2_jb)
GRADCAM_REFUSE(_ZN3c104cuda9GetDeviceEPa)
GRADCAM_REFUSE(_ZN3c104cuda9SetDeviceEab)
GRADCAM_REFUSE(_ZNK3c104cuda10CUDAStream11synchronizeEv)
GRADCAM_REFUSE(_ZNK3c104cuda10CUDAStream5queryEv)
GRADCAM_REFUSE(_ZNK3c104cuda10CUDAStream6streamEv)

// What torchvision calls from 0.29 on: C functions of libtorch_cuda.
GRADCAM_REFUSE(aoti_torch_get_current_cuda_stream)
GRADCAM_REFUSE(torch_c10_cuda_check_msg)
GRADCAM_REFUSE(torch_c10_cuda_free_error_msg)

// A pointer to the allocator of CUDA memory.
extern "C" __attribute__((visibility("default"))) void* _ZN3c104cuda20CUDACachingAllocator9allocatorE =
    nullptr;
