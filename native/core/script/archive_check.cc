#include "core/script/archive_check.h"

#include <caffe2/serialize/inline_container.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>
#include <optional>
#include <stdexcept>
#include <vector>

namespace gradcam {
namespace {

using caffe2::serialize::PyTorchStreamReader;

// Bytes of an element, by the name of its storage's class in torch. What is not here is not checked.
const std::map<std::string, uint64_t> kElementSizes = {
    {"FloatStorage", 4},  {"DoubleStorage", 8},       {"HalfStorage", 2},          {"BFloat16Storage", 2},
    {"LongStorage", 8},   {"IntStorage", 4},          {"ShortStorage", 2},         {"CharStorage", 1},
    {"ByteStorage", 1},   {"BoolStorage", 1},         {"QInt8Storage", 1},         {"QUInt8Storage", 1},
    {"QInt32Storage", 4}, {"ComplexFloatStorage", 8}, {"ComplexDoubleStorage", 16}};

// A storage as the pickle names it: ('storage', torch.FloatStorage, '0', 'cpu', 864).
struct StorageNote {
  std::string type;
  std::string key;
  uint64_t elements;
};

// Goes through a pickle for the storages that it names, and for numbers of values that it cannot have. It
// follows only what TorchScript writes, and ends where it meets anything else: what that is, LibTorch's own
// reader says better.
class StorageScanner {
 public:
  StorageScanner(const char* data, std::size_t size) : size_(size), at_(data), end_(data + size) {}

  std::vector<StorageNote> scan() {
    while (at_ < end_ && step(static_cast<unsigned char>(*at_++))) {
    }
    return std::move(found_);
  }

 private:
  struct Item {
    enum class Kind { Other, Mark, Text, Number, Tuple } kind = Kind::Other;
    std::string text;  // also of a global: its name
    uint64_t number = 0;
    std::vector<Item> items;
  };
  using Kind = Item::Kind;

  bool step(unsigned char opcode) {
    switch (opcode) {
      case 0x80:  // PROTO
        return skip(1);
      case 'c': {  // GLOBAL
        const auto module = line();
        const auto name = line();
        return module && name && push({Kind::Text, *name, 0, {}});
      }
      case 'X': {  // BINUNICODE
        const auto length = number(4);
        if (!length || *length > left()) return false;
        const std::string text(at_, static_cast<std::size_t>(*length));
        return skip(*length) && push({Kind::Text, text, 0, {}});
      }
      case 'J':  // BININT
        return pushNumber(4);
      case 'M':  // BININT2
        return pushNumber(2);
      case 'K':  // BININT1
        return pushNumber(1);
      case 0x8a: {  // LONG1
        const auto length = number(1);
        return length && *length <= 8 && pushNumber(*length);
      }
      case 'G':  // BINFLOAT
        return skip(8) && push({});
      case 'q':  // BINPUT
        return remember(number(1));
      case 'r':  // LONG_BINPUT
        return remember(number(4));
      case 'h':  // BINGET
        return recall(number(1));
      case 'j':  // LONG_BINGET
        return recall(number(4));
      case '(':
        return push({Kind::Mark, {}, 0, {}});
      case ')':
      case ']':
      case '}':
      case 'N':
      case 0x88:
      case 0x89:
        return push({});
      case 't':
        return tupleFromMark();
      case 0x85:
      case 0x86:
      case 0x87:
        return tuple(opcode - 0x84u);
      case 'Q':
        return persistentId();
      case 'a':  // APPEND, REDUCE, NEWOBJ and BUILD leave one of two
      case 'R':
      case 0x81:
      case 'b':
        return pop() && pop() && push({});
      case 's':  // SETITEM leaves one of three
        return pop() && pop() && pop() && push({});
      case 'e':  // APPENDS and SETITEMS leave what was below the mark
      case 'u':
        return popToMark().has_value();
      default:
        return false;
    }
  }

  std::size_t left() const { return static_cast<std::size_t>(end_ - at_); }

  bool skip(uint64_t count) {
    if (count > left()) return false;
    at_ += count;
    return true;
  }

  std::optional<uint64_t> number(uint64_t bytes) {
    if (bytes > left()) return std::nullopt;
    uint64_t value = 0;
    std::memcpy(&value, at_,
                static_cast<std::size_t>(bytes));  // little-endian, as are the machines we run on
    at_ += bytes;
    return value;
  }

  std::optional<std::string> line() {
    const void* newline = std::memchr(at_, '\n', left());
    if (newline == nullptr) return std::nullopt;
    std::string text(at_, static_cast<const char*>(newline));
    at_ = static_cast<const char*>(newline) + 1;
    return text;
  }

  bool push(Item item) {
    stack_.push_back(std::move(item));
    return true;
  }

  bool pushNumber(uint64_t bytes) {
    const auto value = number(bytes);
    return value && push({Kind::Number, {}, *value, {}});
  }

  bool pop() {
    if (stack_.empty()) return false;
    stack_.pop_back();
    return true;
  }

  bool remember(std::optional<uint64_t> index) {
    if (!index || stack_.empty()) return false;
    // They are numbered as they come. LibTorch makes room for as many as the number says, whatever it is.
    if (*index > size_)
      throw std::runtime_error("the archive is damaged: a pickle of " + std::to_string(size_) +
                               " bytes numbers a value " + std::to_string(*index) +
                               ". Copy or export the file again.");
    memory_[*index] = stack_.back();
    return true;
  }

  bool recall(std::optional<uint64_t> index) {
    if (!index) return false;
    const auto found = memory_.find(*index);
    return found != memory_.end() && push(found->second);
  }

  std::optional<std::vector<Item>> popToMark() {
    const auto mark = std::find_if(stack_.rbegin(), stack_.rend(),
                                   [](const Item& item) { return item.kind == Kind::Mark; });
    if (mark == stack_.rend()) return std::nullopt;
    std::vector<Item> items(std::make_move_iterator(mark.base()), std::make_move_iterator(stack_.end()));
    stack_.erase(mark.base() - 1, stack_.end());
    return items;
  }

  bool tupleFromMark() {
    auto items = popToMark();
    // Long tuples are modules' states: nothing in them is looked for again.
    if (items && items->size() > 5) items->clear();
    return items && push({Kind::Tuple, {}, 0, std::move(*items)});
  }

  bool tuple(std::size_t count) {
    if (stack_.size() < count) return false;
    stack_.resize(stack_.size() - count);
    return push({Kind::Tuple, {}, 0, {}});
  }

  bool persistentId() {
    if (stack_.empty()) return false;
    const std::vector<Item> id = std::move(stack_.back().items);
    stack_.back() = {};
    const bool isStorage = id.size() == 5 && id[0].text == "storage" && id[1].kind == Kind::Text &&
                           id[2].kind == Kind::Text && id[4].kind == Kind::Number;
    if (isStorage) found_.push_back({id[1].text, id[2].text, id[4].number});
    return true;
  }

  const std::size_t size_;
  const char* at_;
  const char* const end_;
  std::vector<Item> stack_;
  std::map<uint64_t, Item> memory_;
  std::vector<StorageNote> found_;
};

void checkArchive(PyTorchStreamReader& reader, const std::string& archive) {
  const std::string pickle = archive + ".pkl";
  if (!reader.hasRecord(pickle)) return;  // LibTorch says which files have to be there
  const auto [data, size] = reader.getRecord(pickle);
  for (const StorageNote& storage : StorageScanner(static_cast<const char*>(data.get()), size).scan()) {
    const auto elementSize = kElementSizes.find(storage.type);
    if (elementSize == kElementSizes.end() || storage.elements == 0) continue;
    const std::string record = archive + "/" + storage.key;
    const uint64_t held = reader.hasRecord(record) ? reader.getRecordSize(record) : 0;
    if (storage.elements <= held / elementSize->second) continue;
    throw std::runtime_error("the archive is damaged: its record '" + record + "' holds " +
                             std::to_string(held) + " bytes, and " + std::to_string(storage.elements) +
                             " elements of " + std::to_string(elementSize->second) +
                             " bytes each are said to be in it. Copy or export the file again.");
  }
}

}  // namespace

void checkRecords(const std::string& path) {
  PyTorchStreamReader reader(path);
  for (const char* archive : {"constants", "data"}) checkArchive(reader, archive);
}

bool liesWithin(at::IntArrayRef sizes, at::IntArrayRef strides, int64_t offset, uint64_t elements) {
  if (sizes.size() != strides.size() || offset < 0) return false;
  uint64_t last = static_cast<uint64_t>(offset);
  bool empty = false;
  for (std::size_t axis = 0; axis < sizes.size(); ++axis) {
    if (sizes[axis] < 0 || strides[axis] < 0) return false;
    if (sizes[axis] == 0) empty = true;
    uint64_t reach = 0;
    if (!empty && (c10::mul_overflows(static_cast<uint64_t>(sizes[axis] - 1),
                                      static_cast<uint64_t>(strides[axis]), &reach) ||
                   c10::add_overflows(last, reach, &last)))
      return false;
  }
  return empty ? static_cast<uint64_t>(offset) <= elements : last < elements;
}

void checkStorages(const torch::jit::Module& module) {
  c10::IValue(module._ivalue()).visit([](const c10::IValue& value) {
    if (!value.isTensor()) return false;
    const at::Tensor& tensor = value.toTensor();
    if (!tensor.defined() || !tensor.has_storage() || tensor.layout() != at::kStrided || tensor.numel() == 0)
      return false;
    const bool within = liesWithin(tensor.sizes(), tensor.strides(), tensor.storage_offset(),
                                   tensor.storage().nbytes() / tensor.itemsize());
    if (!within)
      throw std::runtime_error(
          "the archive is damaged: a tensor is said to be larger than the memory it lies in. Copy or export "
          "the file again.");
    return false;
  });
}

}  // namespace gradcam
