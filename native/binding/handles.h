#pragma once

#include <napi.h>

#include <memory>
#include <string>

#include "core/failure.h"

namespace gradcam {

// A C++ object in JavaScript's hands: an opaque value with a type tag, so that no other value passes for it.
template <typename T>
class Handle {
 public:
  static Napi::Value wrap(Napi::Env env, T object, const napi_type_tag& tag) {
    auto external =
        Napi::External<T>::New(env, new T(std::move(object)), [](Napi::BasicEnv, T* held) { delete held; });
    external.TypeTag(&tag);
    return external;
  }

  static T& unwrap(const Napi::Value& value, const napi_type_tag& tag, const char* what) {
    if (!value.IsExternal() || !value.As<Napi::External<T>>().CheckTypeTag(&tag)) {
      throw Napi::TypeError::New(value.Env(), std::string("Expected ") + what + " of this library.");
    }
    return *value.As<Napi::External<T>>().Data();
  }
};

}  // namespace gradcam
