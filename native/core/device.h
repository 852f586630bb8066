#pragma once

#include <string>

namespace gradcam {

struct BuildInfo {
  std::string compiledTorchVersion;
  std::string torchVersion;
  std::string cpuCapability;
  std::string libtorchPath;
};

struct CudaInfo {
  bool available = false;
  std::string reason;  // why not, when not available
  int deviceCount = 0;
};

BuildInfo buildInfo();

// Throws ERR_ADDON_LOAD when the LibTorch that was loaded is not of the release line compiled against.
void checkTorchVersion();

// Loads torch_cuda beside LibTorch on first use; the addon itself links only the CPU part.
CudaInfo cudaInfo();

}  // namespace gradcam
