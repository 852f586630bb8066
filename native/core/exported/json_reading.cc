#include "core/exported/json_reading.h"

#include <limits>
#include <stdexcept>
#include <utility>

namespace gradcam {
namespace {

constexpr std::size_t kDeepest = 200;
// A program's JSON has a name or a value for every seven bytes and more; what has more was made to take
// memory.
constexpr std::size_t kBytesOfValue = 6;
constexpr std::size_t kSmallText = 4096;

// Goes through a text without keeping anything of it.
class Bounds final : public Json::json_sax_t {
 public:
  Bounds(std::size_t size, std::string name)
      : most_((size + kSmallText) / kBytesOfValue), name_(std::move(name)) {}

  bool null() override { return count(); }
  bool boolean(bool) override { return count(); }
  bool number_integer(number_integer_t) override { return count(); }
  bool number_unsigned(number_unsigned_t) override { return count(); }
  bool number_float(number_float_t, const string_t&) override { return count(); }
  bool string(string_t&) override { return count(); }
  bool binary(binary_t&) override { return count(); }
  bool key(string_t&) override { return count(); }
  bool start_object(std::size_t) override { return open(); }
  bool start_array(std::size_t) override { return open(); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool parse_error(std::size_t byte, const std::string&, const nlohmann::detail::exception&) override {
    throwDamaged(name_ + " is not JSON from byte " + std::to_string(byte) + " on");
  }

 private:
  bool count() {
    if (++values_ > most_) throwDamaged(name_ + " holds more values than a program of its length does");
    return true;
  }
  bool open() {
    if (++depth_ > kDeepest)
      throwDamaged(name_ + " is nested deeper than " + std::to_string(kDeepest) + " values");
    return count();
  }
  bool close() {
    --depth_;
    return true;
  }

  const std::size_t most_;
  const std::string name_;
  std::size_t values_ = 0, depth_ = 0;
};

[[noreturn]] void throwKind(const char* what, const char* wanted, const Json& value) {
  throwDamaged(std::string(what) + " has to be " + wanted + ", and is " + value.type_name());
}

}  // namespace

void throwDamaged(const std::string& what) {
  throw std::runtime_error("the exported program is damaged: " + what + ". Copy or export the file again.");
}

Json parseJson(const char* text, std::size_t size, const std::string& name) {
  Bounds bounds(size, name);
  Json::sax_parse(text, text + size, &bounds);
  return Json::parse(text, text + size);
}

const Json* findMember(const Json& object, const char* name) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(name);
  return found == object.end() ? nullptr : &*found;
}

const Json& member(const Json& object, const char* name) {
  const Json* found = findMember(object, name);
  if (found == nullptr) throwDamaged(std::string("there is no ") + name + " where there has to be one");
  return *found;
}

const Json& arrayOf(const Json& value, const char* what) {
  if (!value.is_array()) throwKind(what, "an array", value);
  return value;
}

const Json& objectOf(const Json& value, const char* what) {
  if (!value.is_object()) throwKind(what, "an object", value);
  return value;
}

std::string textOf(const Json& value, const char* what) {
  if (!value.is_string()) throwKind(what, "a text", value);
  return value.get<std::string>();
}

int64_t integerOf(const Json& value, const char* what) {
  const bool fits = value.is_number_integer() &&
                    (!value.is_number_unsigned() ||
                     value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()));
  if (!fits) throwKind(what, "an integer of 64 bits", value);
  return value.get<int64_t>();
}

bool booleanOf(const Json& value, const char* what) {
  if (!value.is_boolean()) throwKind(what, "true or false", value);
  return value.get<bool>();
}

double numberOf(const Json& value, const char* what) {
  if (value.is_number()) return value.get<double>();
  if (value == "Infinity") return std::numeric_limits<double>::infinity();
  if (value == "-Infinity") return -std::numeric_limits<double>::infinity();
  if (value == "NaN") return std::numeric_limits<double>::quiet_NaN();
  throwKind(what, "a number", value);
}

Union unionOf(const Json& value, const char* what) {
  if (!value.is_object() || value.size() != 1) throwKind(what, "an object with one member", value);
  return {value.begin().key(), value.begin().value()};
}

}  // namespace gradcam
