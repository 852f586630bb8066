#pragma once

#include <napi.h>

#include <memory>
#include <string>

namespace gradcam {

// A C++ object in JavaScript's hands: an opaque value with a type tag, so that no other value passes for it.
// It is freed when the value is garbage collected.
template <typename T>
Napi::Value wrapHandle(Napi::Env env, std::unique_ptr<T> object, const napi_type_tag& tag) {
  auto external = Napi::External<T>::New(env, object.get(), [](Napi::BasicEnv, T* held) { delete held; });
  object.release();
  external.TypeTag(&tag);
  return external;
}

template <typename T>
T& unwrapHandle(const Napi::Value& value, const napi_type_tag& tag, const char* what) {
  if (!value.IsExternal() || !value.As<Napi::External<T>>().CheckTypeTag(&tag)) {
    throw Napi::TypeError::New(value.Env(), std::string("Expected ") + what + " of this library.");
  }
  return *value.As<Napi::External<T>>().Data();
}

}  // namespace gradcam
