#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace gradcam {

struct CudaDevice {
  std::string name;  // "NVIDIA H100 80GB HBM3"
  std::size_t totalBytes;
};

struct CudaInfo {
  bool available = false;
  std::string reason;  // why not, when not available
  int deviceCount = 0;
  std::string runtimeVersion;  // of the CUDA that LibTorch was built for, "13.0"; empty for a CPU build
  std::string cudnnVersion;    // "9.20.0"; empty without cuDNN
  std::string driverVersion;   // the newest CUDA that the driver runs, "13.0"; empty without a driver
  std::vector<CudaDevice> devices;
};

// Opens LibTorch's CUDA half where it lies beside the CPU's, unless GRADCAM_CUDA=0. LibTorch keeps the first
// answer to "is there CUDA" for good, and asks in its first convolution: so call this before anything else of
// LibTorch. The addon links only the CPU's half: one build serves both. Further calls do nothing.
void loadCudaLibrary();
bool cudaLibraryLoaded();

// Asks the driver on the first call.
const CudaInfo& cudaInfo();

}  // namespace gradcam
