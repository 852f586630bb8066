#include "core/script/file_kinds.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <vector>

namespace gradcam {
namespace {

const std::string kExport =
    "Export the model in Python with torch.export.save(torch.export.export(model.eval(), (example,)), "
    "'model.pt2'), or with torch.jit.trace(model.eval(), example).save('model.pt').";

// A file's bytes at a place; fewer where it ends.
std::string bytesAt(std::ifstream& file, uint64_t offset, std::size_t count) {
  std::string bytes(count, '\0');
  file.clear();
  file.seekg(static_cast<std::streamoff>(offset));
  file.read(bytes.data(), static_cast<std::streamsize>(count));
  bytes.resize(static_cast<std::size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  return bytes;
}

uint64_t littleEndian(const std::string& bytes, std::size_t at, std::size_t count) {
  uint64_t value = 0;
  for (std::size_t index = 0; index < count && at + index < bytes.size(); ++index)
    value |= static_cast<uint64_t>(static_cast<unsigned char>(bytes[at + index])) << (8 * index);
  return value;
}

bool startsWith(const std::string& text, const std::string& start) {
  return text.compare(0, start.size(), start) == 0;
}

bool endsWith(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// The names in a zip file's directory; none where there is no directory.
std::vector<std::string> namesInZip(std::ifstream& file, uint64_t size) {
  constexpr std::size_t kEnd = 22, kComment = 65535, kEntry = 46;
  const uint64_t tail = std::min<uint64_t>(size, kEnd + kComment);
  const std::string last = bytesAt(file, size - tail, static_cast<std::size_t>(tail));
  const std::size_t end = last.rfind("PK\x05\x06");
  if (end == std::string::npos || end + kEnd > last.size()) return {};
  uint64_t length = littleEndian(last, end + 12, 4), start = littleEndian(last, end + 16, 4);
  // Of a file of more than four gigabytes both are in a record in front.
  const std::size_t locator = end >= 20 ? end - 20 : 0;
  if (end >= 20 && last.compare(locator, 4, "PK\x06\x07") == 0) {
    const std::string record = bytesAt(file, littleEndian(last, locator + 8, 8), 56);
    length = littleEndian(record, 40, 8);
    start = littleEndian(record, 48, 8);
  }
  if (start > size || length > size - start) return {};
  const std::string directory = bytesAt(file, start, static_cast<std::size_t>(length));
  std::vector<std::string> names;
  for (std::size_t at = 0; at + kEntry <= directory.size() && directory.compare(at, 4, "PK\x01\x02") == 0;) {
    const auto name = static_cast<std::size_t>(littleEndian(directory, at + 28, 2));
    const auto more =
        static_cast<std::size_t>(littleEndian(directory, at + 30, 2) + littleEndian(directory, at + 32, 2));
    if (at + kEntry + name > directory.size()) break;
    names.push_back(directory.substr(at + kEntry, name));
    at += kEntry + name + more;
  }
  return names;
}

// Whether there is such a record, in whatever folder PyTorch put all of them.
bool has(const std::vector<std::string>& names, const std::string& record) {
  return std::any_of(names.begin(), names.end(),
                     [&](const std::string& name) { return name == record || endsWith(name, "/" + record); });
}

// torch.save: a state dict, something with one in it, or a module with its class in Python.
std::string problemOfPickle(std::ifstream& file) {
  // The pickle is the archive's first record, and its names are plain text there.
  const std::string start = bytesAt(file, 0, std::size_t{1} << 20);
  const auto mentions = [&](const char* word) { return start.find(word) != std::string::npos; };
  if (mentions("torch.nn.modules") || mentions("_modules"))
    return "it is a module that torch.save pickled, which only Python with the module's code can read. Load "
           "it there. " +
           kExport;
  if (mentions("state_dict") || mentions("optimizer") || mentions("epoch"))
    return "it is a checkpoint that torch.save wrote: weights, and what training needs, without the network. "
           "Build the network in Python, and load what is in it with model.load_state_dict(...). " +
           kExport;
  return "it is a state dict that torch.save wrote: weights without the network. Build the network in "
         "Python, and load them with model.load_state_dict(torch.load(file)). " +
         kExport;
}

FileAnswer kindOfZip(std::ifstream& file, uint64_t size) {
  const std::vector<std::string> names = namesInZip(file, size);
  const auto other = [](std::string problem) { return FileAnswer{FileKind::Other, std::move(problem)}; };
  if (names.empty())
    return other(
        "the archive is cut off or damaged (its directory is missing). Copy or export the file again.");
  if (has(names, "archive_format")) return {FileKind::Exported, {}};
  if (has(names, "constants.pkl")) return {FileKind::TorchScript, {}};
  if (has(names, "serialized_exported_program.json") || has(names, "serialized_exported_program.pt"))
    return other(
        "it was written by torch.export.save of an older PyTorch (2.7 or before), in a format that is "
        "not read. Load it in Python with torch.export.load(file) and save it again with a newer one.");
  if (has(names, "MAR-INF/MANIFEST.json"))
    return other("it is a model archive of TorchServe. Unzip it, and load the .pt file in it.");
  if (has(names, "data.pkl")) return other(problemOfPickle(file));
  const auto inner = std::find_if(names.begin(), names.end(), [](const std::string& name) {
    return endsWith(name, ".pt") || endsWith(name, ".pth") || endsWith(name, ".pt2");
  });
  if (inner != names.end())
    return other("it is a zip file with '" + *inner + "' in it. Unzip it, and load that file.");
  if (has(names, "config.json") && has(names, "model.weights.h5"))
    return other("it is a model of Keras. " + kExport);
  return other("it is a zip file without a model of PyTorch in it. " + kExport);
}

}  // namespace

FileAnswer kindOfFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  file.seekg(0, std::ios::end);
  const auto size = static_cast<uint64_t>(std::max<std::streamoff>(file.tellg(), 0));
  const std::string start = bytesAt(file, 0, 64);
  const auto other = [](std::string problem) { return FileAnswer{FileKind::Other, std::move(problem)}; };
  if (start.size() < 4) return other("the file is empty, too short, or cannot be read.");
  if (startsWith(start, std::string("PK\x03\x04", 4))) return kindOfZip(file, size);
  if (startsWith(start, "version https://git-lfs"))
    return other("it is a pointer of Git LFS, not the file itself. Run: git lfs pull");
  if (startsWith(start, "<!DOCTYPE") || startsWith(start, "<!doctype") || startsWith(start, "<html"))
    return other("it is a web page: what was downloaded was not the file. Download it again.");
  if (startsWith(start, "\x89HDF")) return other("it is an HDF5 file, as Keras writes. " + kExport);
  if (start.size() >= 8 && start.compare(4, 4, "TFL3") == 0)
    return other("it is a model of TensorFlow Lite, which gives no gradients. " + kExport);
  if (startsWith(start, "GGUF")) return other("it is a GGUF file: weights of a language model.");
  // The length of a header of JSON, then the header.
  if (start.size() > 9 && littleEndian(start, 0, 8) < size && start[8] == '{')
    return other(
        "it is a safetensors file: weights without the network. Build the network in Python, and load them "
        "into it. " +
        kExport);
  // torch.save before PyTorch 1.6 starts with a pickle of a number.
  if (startsWith(start, std::string("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 14)))
    return other(
        "it was written by torch.save in its old format: weights, or a pickled module. Load it in "
        "Python. " +
        kExport);
  // ModelProto: the version of the format, then another field.
  if (start[0] == '\x08' && start[1] > 0 && start[1] < 32 &&
      (start[2] == '\x12' || start[2] == '\x3a' || start[2] == '\x42'))
    return other("it is an ONNX model, which gives no gradients. Take the model that it was made of: " +
                 kExport);
  return other("it is neither an exported program (.pt2) nor TorchScript, which are zip files. " + kExport);
}

}  // namespace gradcam
