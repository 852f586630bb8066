#include <algorithm>
#include <filesystem>

#include "api/cuda_library.h"
#include "api/failure.h"
#include "api/model.h"
#include "core/exported/exported_archive.h"
#include "core/exported/exported_module.h"
#include "core/fusion/bfloat16.h"
#include "core/graphs/traced_constants.h"
#include "core/model/model_state.h"
#include "core/process/device_jobs.h"
#include "core/script/archive_check.h"
#include "core/script/file_kinds.h"
#include "core/script/module_facts.h"
#include "core/script/operator_libraries.h"

namespace gradcam {
namespace {

[[noreturn]] void throwLoad(const std::string& path, const std::string& message) {
  throw Failure("ERR_MODEL_LOAD", "Cannot load '" + path + "': " + message).withPath(path);
}

// Says in a user's words what is wrong with a file before LibTorch sees it.
FileKind checkFile(const std::string& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) {
    throw Failure("ERR_MODEL_NOT_FOUND", "There is no model file at '" + path + "'.").withPath(path);
  }
  if (status.type() == std::filesystem::file_type::directory) throwLoad(path, "it is a directory.");
  // Opening a named pipe would wait for a writer, for ever.
  if (!error && status.type() != std::filesystem::file_type::regular) throwLoad(path, "it is not a file.");
  const FileAnswer answer = kindOfFile(path);
  if (answer.kind == FileKind::Other) throwLoad(path, answer.problem);
  return answer.kind;
}

at::Device chooseDevice(const std::string& wanted) {
  if (wanted == "cpu") return at::kCPU;
  const CudaInfo& cuda = cudaInfo();
  if (wanted == "auto") return cuda.available ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  if (!cuda.available) {
    throw Failure("ERR_CUDA_UNAVAILABLE", "The device '" + wanted +
                                              "' was asked for, but CUDA is not available: " + cuda.reason +
                                              ". Use device 'cpu', or 'auto' to take what there is.");
  }
  const at::Device device(wanted);
  const int index = device.has_index() ? device.index() : 0;
  if (index >= cuda.deviceCount) {
    throw Failure("ERR_CUDA_UNAVAILABLE",
                  "The device '" + wanted + "' does not exist: " +
                      (cuda.deviceCount == 1 ? "the only CUDA device of this process is 'cuda:0'."
                                             : "the CUDA devices of this process are 'cuda:0' to 'cuda:" +
                                                   std::to_string(cuda.deviceCount - 1) + "'."));
  }
  return {at::kCUDA, static_cast<at::DeviceIndex>(index)};
}

bool hasHalfPrecisionWeights(const torch::jit::Module& module) {
  for (const at::Tensor& parameter : module.parameters()) {
    if (parameter.scalar_type() == at::kHalf) return true;
  }
  return false;
}

// Parameters and buffers in place: only floating-point ones change their type. Returns the types they had.
std::set<at::ScalarType> castWeights(const torch::jit::Module& module, at::ScalarType type) {
  const at::NoGradGuard noGrad;
  std::set<at::ScalarType> castTypes;
  const auto cast = [&](at::Tensor tensor) {
    if (!at::isFloatingType(tensor.scalar_type()) || tensor.scalar_type() == type) return;
    castTypes.insert(tensor.scalar_type());
    tensor.set_data(tensor.to(type));
  };
  for (at::Tensor parameter : module.parameters()) cast(parameter);
  for (at::Tensor buffer : module.buffers()) cast(buffer);
  return castTypes;
}

at::ScalarType scalarType(ElementType type) {
  switch (type) {
    case ElementType::Float16:
      return at::kHalf;
    case ElementType::BFloat16:
      return at::kBFloat16;
    case ElementType::Float64:
      return at::kDouble;
    default:
      return at::kFloat;
  }
}

// The type in which a model computes what needs no gradient. Throws ERR_UNSUPPORTED.
at::ScalarType typeWithoutGradients(const LoadOptions& options,
                                    const torch::jit::Module& module,
                                    at::Device device) {
  if (!options.bfloat16) return at::kFloat;
  const std::string asked = "precision 'bfloat16' was asked for, but ";
  if (!device.is_cpu()) {
    throw Failure("ERR_UNSUPPORTED", asked +
                                         "the model is on a GPU: it is for the CPU. There, load with dtype "
                                         "'bfloat16', or with tf32.");
  }
  const auto type = isFrozen(module) ? floatingTypeOfConstants(module) : floatingTypeOf(module);
  if (type && *type != at::kFloat) {
    throw Failure("ERR_UNSUPPORTED", asked +
                                         "the model's weights are not float32, of which it makes the parts "
                                         "that need no gradient cheaper. Load with dtype 'float32', or "
                                         "without precision.");
  }
  if (!hasBFloat16()) {
    throw Failure("ERR_UNSUPPORTED", asked +
                                         "this processor has no arithmetic for it (AVX512-BF16 or AMX), or "
                                         "ONEDNN_MAX_CPU_ISA keeps oneDNN from it. Load without precision.");
  }
  return at::kBFloat16;
}

ExportedModule readExported(const std::string& path) {
  try {
    return loadExportedModule(path);
  } catch (const Failure& failure) {
    if (failure.code != "ERR_UNSUPPORTED") throw;
    throw Failure(failure.code, "Cannot load '" + path + "': " + failure.what()).withPath(path);
  }
}

struct ReadFile {
  torch::jit::Module module;
  std::optional<ExportedFacts> exported;  // none of TorchScript
};

// To the CPU: a GPU is used within onDevice() only, and gets the weights once they are cast.
ReadFile readFile(const std::string& path, FileKind kind) {
  if (kind == FileKind::Exported) {
    auto [module, facts] = readExported(path);
    return {std::move(module), std::move(facts)};
  }
  checkRecords(path);
  return {torch::jit::load(path, at::Device(at::kCPU)), std::nullopt};
}

std::shared_ptr<Model> loadOnto(const std::string& path,
                                FileKind kind,
                                const LoadOptions& options,
                                at::Device device) {
  ReadFile file = readFile(path, kind);
  torch::jit::Module& module = file.module;
  checkStorages(module);
  module.eval();
  for (at::Tensor parameter : module.parameters()) parameter.set_requires_grad(false);
  const at::ScalarType type = options.elementType ? scalarType(*options.elementType) : at::kFloat;
  std::set<at::ScalarType> castTypes;
  const bool half = hasHalfPrecisionWeights(module) || floatingTypeOf(module) == at::kHalf;
  if (options.elementType || (device.is_cpu() && half)) {
    castTypes = castWeights(module, type);
    // A frozen file's weights are constants of its graphs.
    const auto ofConstants = isFrozen(module) ? floatingTypeOfConstants(module) : std::nullopt;
    if (ofConstants && *ofConstants != type) castTypes.insert(*ofConstants);
  }
  const DeviceMode mode{options.tf32, options.cudnnBenchmark};
  // Weights in a block that a large batch left would keep the whole block.
  if (!device.is_cpu()) releaseDeviceMemory();
  onDevice(device, mode, [&] {
    adaptTracedConstants(module, device, castTypes, type);
    if (!device.is_cpu()) module.to(device);
  });
  const at::ScalarType reduced = typeWithoutGradients(options, module, device);
  auto state = std::make_unique<ModelState>(std::move(module), device, mode, options.arguments, reduced,
                                            std::move(file.exported));
  onDevice(device, mode, [&] { state->checkDefaults(); });
  return std::make_shared<Model>(std::move(state));
}

// What goes wrong while a file is read, in a user's words.
template <typename Read>
auto reading(const std::string& path, const Read& read) {
  try {
    return read();
  } catch (...) {
    Failure failure = toFailure(std::current_exception(), "ERR_MODEL_LOAD");
    if (failure.code != "ERR_MODEL_LOAD") throw failure;
    if (const auto missing = missingOperator(failure.what())) {
      throw Failure("ERR_MISSING_OPERATOR",
                    "The model '" + path + "' uses " + *missing + ", which LibTorch itself does not have.")
          .withPath(path)
          .withAvailable({*missing});
    }
    throwLoad(path, failure.what());
  }
}

}  // namespace

std::shared_ptr<Model> loadModel(const std::string& path, const LoadOptions& options) {
  const FileKind kind = checkFile(path);
  const at::Device device = chooseDevice(options.device);
  for (const std::string& library : options.libraries) loadOperatorLibrary(library);
  return reading(path, [&] { return loadOnto(path, kind, options, device); });
}

void convertModel(const std::string& path, const std::string& to, const std::vector<std::string>& libraries) {
  if (checkFile(path) == FileKind::TorchScript) throwLoad(path, "it is TorchScript already.");
  for (const std::string& library : libraries) loadOperatorLibrary(library);
  const torch::jit::Module module = reading(path, [&] { return readExported(path).module; });
  try {
    module.save(to);
    torch::jit::load(to, at::Device(at::kCPU));
  } catch (...) {
    const Failure failure = toFailure(std::current_exception(), "ERR_UNSUPPORTED");
    if (failure.code != "ERR_UNSUPPORTED") throw failure;
    const std::string reason = failure.what();
    throw Failure("ERR_UNSUPPORTED", "The program '" + path +
                                         "' cannot be written as TorchScript, whose files are code: " +
                                         reason.substr(0, reason.find('\n')))
        .withPath(path);
  }
}

}  // namespace gradcam
