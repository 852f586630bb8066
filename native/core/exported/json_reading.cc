#include "core/exported/json_reading.h"

#include <limits>
#include <stdexcept>

namespace gradcam {
namespace {

constexpr int kDeepest = 200;
// A program's JSON has a value for every twenty bytes or so; what has more was made to take memory.
constexpr std::size_t kBytesOfValue = 5;
constexpr std::size_t kSmallText = 4096;

[[noreturn]] void throwKind(const char* what, const char* wanted, const Json& value) {
  throwDamaged(std::string(what) + " has to be " + wanted + ", and is " + value.type_name());
}

}  // namespace

void throwDamaged(const std::string& what) {
  throw std::runtime_error("the exported program is damaged: " + what + ". Copy or export the file again.");
}

Json parseJson(const char* text, std::size_t size, const std::string& name) {
  const std::size_t most = (size + kSmallText) / kBytesOfValue;
  std::size_t values = 0;
  const auto count = [&](int depth, Json::parse_event_t event, Json&) {
    using Event = Json::parse_event_t;
    if (event == Event::object_end || event == Event::array_end) return true;
    if (depth > kDeepest) throwDamaged(name + " is nested deeper than " + std::to_string(kDeepest));
    if (++values > most) throwDamaged(name + " holds more values than a program of its length does");
    return true;
  };
  try {
    return Json::parse(text, text + size, count);
  } catch (const Json::parse_error& error) {
    throwDamaged(name + " is not JSON from byte " + std::to_string(error.byte) + " on");
  }
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
