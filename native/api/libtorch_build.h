#pragma once

#include <string>

namespace gradcam {

struct BuildInfo {
  std::string compiledTorchVersion;
  std::string torchVersion;
  std::string cpuCapability;
  std::string libtorchPath;
};

BuildInfo buildInfo();

// The libtorch_cpu that this process uses; empty where the system cannot tell.
std::string libtorchFile();

// Throws ERR_ADDON_LOAD when the LibTorch that was loaded is not of the release line compiled against.
void checkTorchVersion();

}  // namespace gradcam
