#pragma once

#include <string>

namespace gradcam {

// What a file is that LibTorch is asked to load, by what it starts with and, of a zip file, by the names in
// it.
enum class FileKind { TorchScript, Exported, Other };

struct FileAnswer {
  FileKind kind;
  std::string problem;  // of another: what it is, and what to do
};

// Reads little of the file, and never more than its length accounts for.
FileAnswer kindOfFile(const std::string& path);

}  // namespace gradcam
