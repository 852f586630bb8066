#include "api/libtorch_build.h"

#include <dlfcn.h>

#include "api/failure.h"
#include "core/process/torch.h"

namespace gradcam {
namespace {

// Not at::show_config(): that asks for CUDA.
std::string runtimeTorchVersion() {
  const auto& options = caffe2::GetBuildOptions();
  const auto version = options.find("TORCH_VERSION");
  return version == options.end() ? "unknown" : version->second;
}

}  // namespace

std::string libtorchFile() {
  Dl_info info{};
  // Any function that lives in libtorch_cpu tells which file was loaded.
  if (dladdr(reinterpret_cast<const void*>(&at::get_parallel_info), &info) == 0 || info.dli_fname == nullptr)
    return "";
  return info.dli_fname;
}

BuildInfo buildInfo() {
  return {TORCH_VERSION, runtimeTorchVersion(), at::get_cpu_capability(), libtorchFile()};
}

void checkTorchVersion() {
  const BuildInfo build = buildInfo();
  const auto releaseLine = [](const std::string& version) {
    return version.substr(0, version.find('.', version.find('.') + 1));
  };
  if (releaseLine(build.torchVersion) == releaseLine(build.compiledTorchVersion)) return;
  throw Failure("ERR_ADDON_LOAD", "the addon was compiled against LibTorch " + build.compiledTorchVersion +
                                      ", but LibTorch " + build.torchVersion + " was loaded, from " +
                                      build.libtorchPath +
                                      ". Check LD_LIBRARY_PATH and LD_PRELOAD, and whether another library "
                                      "of this process brought its own LibTorch");
}

}  // namespace gradcam
