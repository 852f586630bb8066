#include "binding/errors.h"

namespace gradcam {
namespace {

Napi::Array toArray(Napi::Env env, const std::vector<std::string>& names) {
  Napi::Array array = Napi::Array::New(env, names.size());
  for (uint32_t index = 0; index < names.size(); ++index) array.Set(index, names[index]);
  return array;
}

}  // namespace

Napi::Error toJsError(Napi::Env env, const Failure& failure) {
  Napi::Object details = Napi::Object::New(env);
  if (!failure.layer.empty()) details.Set("layer", failure.layer);
  if (!failure.path.empty()) details.Set("path", failure.path);
  if (!failure.available.empty()) details.Set("available", toArray(env, failure.available));
  Napi::Error error = Napi::Error::New(env, failure.message);
  error.Set("gradcamCode", Napi::String::New(env, failure.code));
  error.Set("details", details);
  return error;
}

Napi::Value guarded(Napi::Env env, const std::function<Napi::Value()>& body) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw toJsError(env, toFailure(std::current_exception()));
  }
}

}  // namespace gradcam
