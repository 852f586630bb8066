#pragma once

#include <napi.h>

#include <memory>
#include <string>
#include <utility>

#include "api/counted.h"

namespace gradcam {

// A C++ object in JavaScript's hands.
template <typename T>
class Handle : public Counted<Handle<T>> {
 public:
  explicit Handle(std::unique_ptr<T> object) : object_(std::move(object)) {}
  T& object() const { return *object_; }

 private:
  const std::unique_ptr<T> object_;
};

// An opaque value with a type tag, so that no other value passes for it. The object is freed when the value
// is garbage collected.
template <typename T>
Napi::Value wrapHandle(Napi::Env env, std::unique_ptr<T> object, const napi_type_tag& tag) {
  auto handle = std::make_unique<Handle<T>>(std::move(object));
  auto external =
      Napi::External<Handle<T>>::New(env, handle.get(), [](Napi::BasicEnv, Handle<T>* held) { delete held; });
  handle.release();
  external.TypeTag(&tag);
  return external;
}

template <typename T>
T& unwrapHandle(const Napi::Value& value, const napi_type_tag& tag, const char* what) {
  if (!value.IsExternal() || !value.As<Napi::External<Handle<T>>>().CheckTypeTag(&tag)) {
    throw Napi::TypeError::New(value.Env(), std::string("Expected ") + what + " of this library.");
  }
  return value.As<Napi::External<Handle<T>>>().Data()->object();
}

}  // namespace gradcam
