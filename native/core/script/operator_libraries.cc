#include "core/script/operator_libraries.h"

#include <dlfcn.h>

#include <filesystem>
#include <mutex>
#include <set>

#include "api/cancellation.h"
#include "api/cuda_library.h"
#include "api/failure.h"
#include "api/libtorch_build.h"
#include "core/script/torchvision_gradients.h"

namespace gradcam {
namespace {

std::filesystem::path folderOfThisAddon() {
  Dl_info info{};
  dladdr(reinterpret_cast<const void*>(&loadOperatorLibrary), &info);
  return std::filesystem::path(info.dli_fname ? info.dli_fname : "").parent_path();
}

// The dynamic linker takes a library that is loaded already for one that is needed, by its name. So the
// libraries that torchvision's names and does not use (libtorch_python above all, which would need a running
// Python), and those of CUDA where LibTorch is without it, are stood in for by ones of ours:
// native/placeholders.
void loadPlaceholders() {
  const auto load = [folder = folderOfThisAddon() / "placeholders"](const char* name) {
    if (dlopen(name, RTLD_LAZY | RTLD_NOLOAD) != nullptr) return;
    const auto file = folder / name;
    if (std::filesystem::exists(file)) dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  };
  load("libtorch.so");
  load("libtorch_python.so");
  if (!cudaLibraryLoaded()) {
    load("libc10_cuda.so");
    load("libtorch_cuda.so");
  }
}

[[noreturn]] void throwUnusable(const std::string& path, const std::string& problem) {
  throw Failure("ERR_OPERATOR_LIBRARY", "The operator library '" + path + "' cannot be loaded: " + problem)
      .withPath(path);
}

}  // namespace

void loadOperatorLibrary(const std::string& path) {
  static std::mutex mutex;
  static std::set<std::string> loaded;
  std::lock_guard lock(mutex);
  std::error_code error;
  const std::filesystem::path file = std::filesystem::canonical(path, error);
  if (error) throwUnusable(path, "there is no such file.");
  if (std::filesystem::is_directory(file))
    throwUnusable(path, "it is a folder; name the library file in it.");
  if (loaded.count(file.string()) > 0) return;
  loadPlaceholders();
  const Cancellation::Scope toItsEnd(
      nullptr);  // a library stays in the process, and its registrations with it
  try {
    // NOW, so that a function that this LibTorch does not have is an error here and does not end the process
    // later.
    if (dlopen(file.c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr) {
      const char* message = dlerror();
      throwUnusable(path, std::string(message ? message : "unknown") + ". It must be built for LibTorch " +
                              buildInfo().torchVersion +
                              ", for this platform and for the same kind (CPU or CUDA).");
    }
    registerTorchvisionGradients();
  } catch (const Failure&) {
    throw;
  } catch (...) {  // its registrations run as it is loaded
    throwUnusable(path, torchMessage(std::current_exception()));
  }
  loaded.insert(file.string());
}

std::optional<std::string> missingOperator(const std::string& message) {
  const auto wordBehind = [&](const std::string& marker, const char* end) -> std::optional<std::string> {
    const auto start = message.find(marker);
    if (start == std::string::npos) return std::nullopt;
    const auto first = start + marker.size();
    std::string word = message.substr(first, message.find_first_of(end, first) - first);
    while (!word.empty() && word.back() == '.') word.pop_back();
    return word;
  };
  if (auto name = wordBehind("Unknown builtin op: ", " \n")) return name;
  if (const auto name = wordBehind("__torch__.torch.classes.", "'\" \n(")) {
    std::string dotted = *name;
    if (const auto dot = dotted.find('.'); dot != std::string::npos) dotted.replace(dot, 1, "::");
    return dotted;
  }
  return std::nullopt;
}

}  // namespace gradcam
