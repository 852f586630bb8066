#include "core/exported/exported_archive.h"

#include <caffe2/serialize/inline_container.h>

#include <algorithm>
#include <filesystem>

#include "api/failure.h"
#include "core/script/archive_check.h"

namespace gradcam {
namespace {

using caffe2::serialize::PyTorchStreamReader;

constexpr int64_t kSchemaMajor = 8;

class ArchiveReader {
 public:
  explicit ArchiveReader(const std::string& path)
      : reader_(path), fileSize_(std::filesystem::file_size(path)) {}

  bool has(const std::string& record) { return reader_.hasRecord(record); }

  std::string text(const std::string& record) {
    const auto [data, size] = bytes(record);
    return {static_cast<const char*>(data.get()), size};
  }

  Json json(const std::string& record) {
    const auto [data, size] = bytes(record);
    return parseJson(static_cast<const char*>(data.get()), size, record);
  }

  // Records are stored as they are, so that none is larger than the file.
  std::tuple<at::DataPtr, std::size_t> bytes(const std::string& record) {
    if (!reader_.hasRecord(record)) throwDamaged("its record '" + record + "' is missing");
    const std::size_t size = reader_.getRecordSize(record);
    if (size > fileSize_)
      throwDamaged("its record '" + record + "' is said to be larger than the file, which is compressed");
    return reader_.getRecord(record);
  }

  std::size_t fileSize() const { return fileSize_; }
  std::vector<std::string> records() { return reader_.getAllRecords(); }

 private:
  PyTorchStreamReader reader_;
  const std::size_t fileSize_;
};

std::vector<int64_t> sizesOf(const Json& list, const char* what) {
  std::vector<int64_t> sizes;
  for (const Json& each : arrayOf(list, what)) {
    const Union size = unionOf(each, what);
    if (size.kind != "as_int") throwDamaged(std::string(what) + " of a stored tensor are not numbers");
    sizes.push_back(integerOf(size.value, what));
  }
  return sizes;
}

at::ScalarType elementTypeOf(const Json& meta, const std::string& name) {
  const int64_t number = integerOf(member(meta, "dtype"), "dtype");
  const auto type = scalarTypeOfSerde(number);
  if (!type)
    throw Failure("ERR_UNSUPPORTED", "The tensor '" + name + "' is of a type that is not read (number " +
                                         std::to_string(number) + " of torch.export's schema).");
  return *type;
}

// Whoever copies a tensor whose elements share memory, as one that was expanded, makes all of them.
void checkLength(const std::vector<int64_t>& sizes,
                 std::size_t elementSize,
                 std::size_t fileSize,
                 const std::string& name) {
  constexpr uint64_t kTimes = 10, kSmall = 64 << 20;
  uint64_t bytes = elementSize;
  const bool overflows = std::any_of(sizes.begin(), sizes.end(), [&](int64_t size) {
    return c10::mul_overflows(bytes, static_cast<uint64_t>(size), &bytes);
  });
  if (overflows || bytes > std::max(kTimes * fileSize, kSmall))
    throwDamaged("the tensor '" + name + "' is said to have many times as many elements as the file holds");
}

// The tensors of one folder of the archive. Names that share a record share its memory, as the model's did.
void readTensors(ArchiveReader& reader,
                 const std::string& folder,
                 const std::string& config,
                 std::map<std::string, at::Tensor>& tensors) {
  std::map<std::string, c10::Storage> storages;
  if (!reader.has(folder + config) && reader.has("data/weights/model.pt"))
    throw Failure(
        "ERR_UNSUPPORTED",
        "The file was written by an older PyTorch (2.8 or before), whose weights are one Python pickle. "
        "Load it in Python with torch.export.load(file) and save it again with a newer one.");
  const Json payloads = reader.json(folder + config);
  for (const auto& [name, payload] : objectOf(member(payloads, "config"), "config").items()) {
    const Json& meta = member(payload, "tensor_meta");
    if (booleanOf(member(payload, "use_pickle"), "use_pickle") || !meta.is_object()) {
      throw Failure("ERR_UNSUPPORTED",
                    "'" + name +
                        "' is stored as a Python pickle: it is a subclass of torch.Tensor, or no tensor. "
                        "Export the model with ordinary tensors.");
    }
    const at::ScalarType type = elementTypeOf(meta, name);
    const std::vector<int64_t> sizes = sizesOf(member(meta, "sizes"), "sizes");
    const std::vector<int64_t> strides = sizesOf(member(meta, "strides"), "strides");
    const Union offset = unionOf(member(meta, "storage_offset"), "storage_offset");
    const std::string record = folder + textOf(member(payload, "path_name"), "path_name");
    auto storage = storages.find(record);
    if (storage == storages.end()) {
      auto [data, size] = reader.bytes(record);
      storage = storages
                    .emplace(record, c10::Storage(c10::Storage::use_byte_size_t(), size, std::move(data),
                                                  /*allocator=*/nullptr, /*resizable=*/false))
                    .first;
    }
    const int64_t first = offset.kind == "as_int" ? integerOf(offset.value, "storage_offset") : -1;
    const uint64_t elements = storage->second.nbytes() / c10::elementSize(type);
    if (!liesWithin(sizes, strides, first, elements))
      throwDamaged("the tensor '" + name + "' is said to be larger than its record '" + record + "'");
    checkLength(sizes, c10::elementSize(type), reader.fileSize(), name);
    tensors[name] = at::empty({0}, type).set_(storage->second, first, sizes, strides);
  }
}

[[noreturn]] void throwNoProgram(ArchiveReader& reader) {
  for (const std::string& record : reader.records()) {
    if (record.rfind("data/aotinductor/", 0) == 0) {
      throw Failure("ERR_UNSUPPORTED",
                    "The file holds a program that AOTInductor compiled, which has no layers and gives no "
                    "gradients. Save it before it is compiled: torch.export.save(torch.export.export(model, "
                    "inputs), 'model.pt2').");
    }
  }
  throwDamaged("there is no program in it (models/model.json)");
}

// A file may hold several, of which one is called 'model' unless it was told otherwise.
std::string programName(ArchiveReader& reader) {
  std::vector<std::string> names;
  for (const std::string& record : reader.records()) {
    const std::string folder = "models/", end = ".json";
    const bool isProgram = record.size() > folder.size() + end.size() && record.rfind(folder, 0) == 0 &&
                           record.compare(record.size() - end.size(), end.size(), end) == 0;
    if (!isProgram) continue;
    names.push_back(record.substr(folder.size(), record.size() - folder.size() - end.size()));
    if (names.back() == "model") return "model";
  }
  if (names.empty()) throwNoProgram(reader);
  if (names.size() > 1)
    throw Failure("ERR_UNSUPPORTED", "The file holds several programs (" + joined(names) +
                                         ") and none of them is called 'model'. Save each in its own file.");
  return names[0];
}

void checkFormat(ArchiveReader& reader) {
  if (reader.has("byteorder") && reader.text("byteorder") != "little")
    throw Failure("ERR_UNSUPPORTED",
                  "The file was written on a machine with the other order of bytes (big-endian).");
}

void checkSchema(const Json& program) {
  const Json& version = member(program, "schema_version");
  const int64_t major = integerOf(member(version, "major"), "schema_version.major");
  if (major == kSchemaMajor) return;
  const Json* torch = findMember(program, "torch_version");
  throw Failure(
      "ERR_UNSUPPORTED",
      "The program is of version " + std::to_string(major) + " of torch.export's schema, and version " +
          std::to_string(kSchemaMajor) + " is read (torch 2.11 to 2.15" +
          (torch != nullptr && torch->is_string() ? "; it was written by torch " + textOf(*torch, "")
                                                  : std::string()) +
          "). Export it with one of these.");
}

}  // namespace

std::optional<at::ScalarType> scalarTypeOfSerde(int64_t number) {
  switch (number) {
    case 1:
      return at::kByte;
    case 2:
      return at::kChar;
    case 3:
      return at::kShort;
    case 4:
      return at::kInt;
    case 5:
      return at::kLong;
    case 6:
      return at::kHalf;
    case 7:
      return at::kFloat;
    case 8:
      return at::kDouble;
    case 10:
      return at::kComplexFloat;
    case 11:
      return at::kComplexDouble;
    case 12:
      return at::kBool;
    case 13:
      return at::kBFloat16;
    default:
      return std::nullopt;
  }
}

ExportedArchive readExportedArchive(const std::string& path) {
  ArchiveReader reader(path);
  if (const std::string format = reader.text("archive_format"); format != "pt2")
    throwDamaged("its archive_format is not pt2");
  checkFormat(reader);
  const std::string name = programName(reader);
  ExportedArchive archive{reader.json("models/" + name + ".json"), {}};
  checkSchema(archive.program);
  readTensors(reader, "data/weights/", name + "_weights_config.json", archive.tensors);
  readTensors(reader, "data/constants/", name + "_constants_config.json", archive.tensors);
  return archive;
}

}  // namespace gradcam
