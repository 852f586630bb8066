#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/process/torch.h"

namespace gradcam {

// What a program was exported for.
struct ExportedFacts {
  // Of the images, the first tensor that it takes: none for an axis that takes any size.
  std::vector<std::optional<int64_t>> inputSizes;
  // BatchNorms and dropouts that were exported in training mode, and run as in evaluation.
  int trainingOperations = 0;
};

struct ExportedModule {
  torch::jit::Module module;
  ExportedFacts facts;
};

// A program of torch.export.save as a module of TorchScript, on the CPU: submodules, parameters and buffers
// under their names, and a method for each call of a module, so that everything behind knows layers as it
// does of a trace. Only here it is decided that TorchScript's interpreter runs it.
//
// Throws a std::runtime_error for damage and for operators that are not there, ERR_UNSUPPORTED for what
// cannot be read.
ExportedModule loadExportedModule(const std::string& path);

}  // namespace gradcam
