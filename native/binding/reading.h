#pragma once

#include <napi.h>

#include <string>
#include <vector>

namespace gradcam {

// A property that lib/addon/addon.ts always sets.
inline Napi::Value need(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  if (value.IsUndefined())
    throw Napi::TypeError::New(object.Env(), std::string("The request lacks '") + key + "'.");
  return value;
}

// A property that may be absent. What a program put on Object.prototype is not ours.
inline Napi::Value optional(const Napi::Object& object, const char* key) {
  return object.HasOwnProperty(key) ? object.Get(key) : object.Env().Undefined();
}

template <typename T, typename Convert>
std::vector<T> toVector(const Napi::Value& value, const Convert& convert) {
  if (!value.IsArray()) throw Napi::TypeError::New(value.Env(), "Expected an array.");
  const auto array = value.As<Napi::Array>();
  std::vector<T> elements;
  for (uint32_t index = 0; index < array.Length(); ++index) elements.push_back(convert(array.Get(index)));
  return elements;
}

}  // namespace gradcam
