#pragma once

#include <string>

#include "core/exported/call_tree.h"
#include "core/exported/exported_archive.h"
#include "core/process/torch.h"

namespace gradcam {

// Modules without methods, for all paths of calls and all names of tensors, with the tensors as parameters
// and buffers. Each has a type of its own.
torch::jit::Module makeModules(const CallTree& calls,
                               const ExportedProgram& program,
                               const ExportedArchive& archive);

// "a.b" of "a.b.c", and "c".
std::string parentOf(const std::string& path);
std::string lastNameOf(const std::string& path);

}  // namespace gradcam
