#include "core/device.h"

#include <dlfcn.h>

#include <filesystem>
#include <mutex>

#include "core/failure.h"
#include "core/torch.h"

namespace gradcam {
namespace {

std::string libtorchFile() {
  Dl_info info{};
  // Any function that lives in libtorch_cpu tells which file was loaded.
  if (dladdr(reinterpret_cast<const void*>(&at::get_parallel_info), &info) == 0 || info.dli_fname == nullptr)
    return "";
  return info.dli_fname;
}

// LibTorch has no function that tells its version, but its printed build settings do.
std::string runtimeTorchVersion() {
  const std::string config = at::show_config();
  const std::string key = "TORCH_VERSION=";
  const auto start = config.find(key);
  if (start == std::string::npos) return "unknown";
  return config.substr(start + key.size(), config.find_first_of(", \n", start) - start - key.size());
}

CudaInfo loadCuda() {
  if (!at::hasCUDA()) {
    const auto library = std::filesystem::path(libtorchFile()).replace_filename("libtorch_cuda.so");
    if (!std::filesystem::exists(library)) {
      return {false, "this LibTorch is a CPU build (no libtorch_cuda.so beside libtorch_cpu.so)", 0};
    }
    if (dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr) {
      const char* message = dlerror();
      return {false, std::string("libtorch_cuda.so could not be loaded: ") + (message ? message : "unknown"),
              0};
    }
  }
  const std::string noDevice = "no CUDA device was found (no GPU, or no NVIDIA driver)";
  if (!at::hasCUDA()) return {false, noDevice, 0};
  const int count =
      static_cast<int>(at::globalContext().getAcceleratorHooksInterface(at::kCUDA).deviceCount());
  if (count == 0) return {false, noDevice, 0};
  return {true, "", count};
}

}  // namespace

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

CudaInfo cudaInfo() {
  static std::mutex mutex;
  static CudaInfo info;
  static bool known = false;
  std::lock_guard lock(mutex);
  if (!known) {
    try {
      info = loadCuda();
    } catch (const c10::Error& error) {
      info = {false, error.what_without_backtrace(), 0};
    }
    known = true;
  }
  return info;
}

}  // namespace gradcam
