#include "api/cuda_library.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>

#include "api/device_memory.h"
#include "api/libtorch_build.h"
#include "core/process/torch.h"

namespace gradcam {
namespace {

enum class Library { NotThere, OptedOut, Refused, Loaded };

struct Loading {
  Library library = Library::NotThere;
  std::string problem;
};

Loading openLibrary() {
  const auto file = std::filesystem::path(libtorchFile()).replace_filename("libtorch_cuda.so");
  std::error_code unreadable;
  if (!std::filesystem::exists(file, unreadable)) return {};
  const char* wanted = std::getenv("GRADCAM_CUDA");
  if (wanted != nullptr && std::string(wanted) == "0") return {Library::OptedOut, ""};
  if (dlopen(file.c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr) {
    stopReleasingAtExit();
    return {Library::Loaded, ""};
  }
  const char* message = dlerror();
  return {Library::Refused, message != nullptr ? message : "unknown"};
}

const Loading& loading() {
  static const Loading loaded = openLibrary();
  return loaded;
}

// 13000 and 13010 are 13.0 and 13.1.
std::string cudaVersion(int number) {
  return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

std::string cudnnVersion(int64_t number) {
  const int64_t major = number >= 90000 ? 10000 : 1000;  // 90200 is 9.2.0, 8907 was 8.9.7
  return std::to_string(number / major) + "." + std::to_string(number % major / 100) + "." +
         std::to_string(number % 100);
}

// A function of a library that libtorch_cuda brought into the process. No CUDA header is needed: the numbers
// of CUDA's errors are part of its interface.
template <typename Function>
Function* functionOf(void* library, const char* name) {
  return reinterpret_cast<Function*>(dlsym(library, name));
}

constexpr int kSuccess = 0;
constexpr int kInsufficientDriver = 35;
constexpr int kNoDevice = 100;

// In a user's words, why there is no device; empty where there are `count`.
std::string askRuntime(CudaInfo& info) {
  const auto driverVersion = functionOf<int(int*)>(RTLD_DEFAULT, "cudaDriverGetVersion");
  const auto deviceCount = functionOf<int(int*)>(RTLD_DEFAULT, "cudaGetDeviceCount");
  const auto errorString = functionOf<const char*(int)>(RTLD_DEFAULT, "cudaGetErrorString");
  if (driverVersion == nullptr || deviceCount == nullptr || errorString == nullptr)
    return "this LibTorch has no CUDA runtime";
  int driver = 0;
  if (driverVersion(&driver) == kSuccess && driver > 0) info.driverVersion = cudaVersion(driver);
  const int error = deviceCount(&info.deviceCount);
  if (error == kSuccess && info.deviceCount > 0) return "";
  info.deviceCount = 0;
  if (info.driverVersion.empty())
    return "this LibTorch is a CUDA build, but this machine has no NVIDIA driver (libcuda.so.1)";
  if (error == kInsufficientDriver)
    return "the NVIDIA driver is too old: it runs CUDA " + info.driverVersion + ", and this LibTorch needs " +
           info.runtimeVersion;
  if (error == kSuccess || error == kNoDevice)
    return "the NVIDIA driver is there, but no device (is CUDA_VISIBLE_DEVICES set, or the GPU not passed to "
           "this container?)";
  return std::string("the NVIDIA driver refuses: ") + errorString(error);
}

void describeDevices(CudaInfo& info) {
  void* driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  if (driver == nullptr) return;
  const auto getDevice = functionOf<int(int*, int)>(driver, "cuDeviceGet");
  const auto getName = functionOf<int(char*, int, int)>(driver, "cuDeviceGetName");
  const auto getTotal = functionOf<int(std::size_t*, int)>(driver, "cuDeviceTotalMem_v2");
  if (getDevice == nullptr || getName == nullptr || getTotal == nullptr) return;
  for (int index = 0; index < info.deviceCount; ++index) {
    int device = 0;
    char name[256] = {};
    std::size_t total = 0;
    const bool told = getDevice(&device, index) == kSuccess &&
                      getName(name, sizeof name - 1, device) == kSuccess &&
                      getTotal(&total, device) == kSuccess;
    if (told) info.devices.push_back({name, total});
  }
}

CudaInfo ask() {
  CudaInfo info;
  switch (loading().library) {
    case Library::NotThere:
      info.reason = "this LibTorch is a CPU build (no libtorch_cuda.so beside libtorch_cpu.so)";
      return info;
    case Library::OptedOut:
      info.reason = "GRADCAM_CUDA=0 is set";
      return info;
    case Library::Refused:
      info.reason = "libtorch_cuda.so could not be loaded: " + loading().problem;
      return info;
    case Library::Loaded:
      break;
  }
  try {
    const at::CUDAHooksInterface& hooks = at::detail::getCUDAHooks();
    if (!hooks.hasCUDART()) {  // the stub, which stays for good
      info.reason =
          "LibTorch was asked for CUDA before libtorch_cuda.so was loaded, by another part of this process";
      return info;
    }
    info.runtimeVersion = cudaVersion(static_cast<int>(hooks.versionCUDART()));
    if (hooks.compiledWithCuDNN()) info.cudnnVersion = cudnnVersion(hooks.versionRuntimeCuDNN());
    info.reason = askRuntime(info);
    info.available = info.reason.empty();
    if (info.available) describeDevices(info);
  } catch (const c10::Error& error) {
    info.reason = error.what_without_backtrace();
  }
  return info;
}

}  // namespace

void loadCudaLibrary() {
  loading();
}

bool cudaLibraryLoaded() {
  return loading().library == Library::Loaded;
}

const CudaInfo& cudaInfo() {
  static const CudaInfo info = ask();
  return info;
}

}  // namespace gradcam
