#pragma once

#include <map>
#include <optional>
#include <string>

#include "core/exported/json_reading.h"
#include "core/process/torch.h"

namespace gradcam {

// What the file of torch.export.save, a PT2 archive, holds of one program. Source: torch/export/pt2_archive
// and torch/_export/serde/schema.py, schema 8. Throws a std::runtime_error for damage, and ERR_UNSUPPORTED
// for what it does not read.
struct ExportedArchive {
  Json program;
  // By name, on the CPU: parameters, buffers and constants. Names may share memory.
  std::map<std::string, at::Tensor> tensors;
};

ExportedArchive readExportedArchive(const std::string& path);

// The types that serde numbers in its own way; none where it is not known.
std::optional<at::ScalarType> scalarTypeOfSerde(int64_t number);

}  // namespace gradcam
