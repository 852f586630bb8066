#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace gradcam {

// JSON that may say anything: what is not as it has to be is a std::runtime_error that says so.

using Json = nlohmann::json;

[[noreturn]] void throwDamaged(const std::string& what);

// Refuses what is nested deeper than a program is, and what would take many times its length of memory.
Json parseJson(const char* text, std::size_t size, const std::string& name);

const Json& member(const Json& object, const char* name);
// Null where there is none.
const Json* findMember(const Json& object, const char* name);
const Json& arrayOf(const Json& value, const char* what);
const Json& objectOf(const Json& value, const char* what);
std::string textOf(const Json& value, const char* what);
int64_t integerOf(const Json& value, const char* what);
bool booleanOf(const Json& value, const char* what);
// Numbers that JSON does not have are written as texts.
double numberOf(const Json& value, const char* what);

// A union is an object with one member, whose name says which.
struct Union {
  std::string kind;
  const Json& value;
};
Union unionOf(const Json& value, const char* what);

}  // namespace gradcam
