#pragma once

#include <napi.h>

namespace gradcam {

Napi::Value tensorFromTypedArray(const Napi::CallbackInfo& info);  // (data, shape) -> NativeTensor
Napi::Value tensorCopyTo(const Napi::CallbackInfo& info);          // (reference, typed array) -> undefined
Napi::Value tensorShare(const Napi::CallbackInfo& info);           // (reference) -> NativeTensor
Napi::Value tensorAt(const Napi::CallbackInfo& info);              // (reference, index) -> NativeTensor
Napi::Value tensorNarrow(const Napi::CallbackInfo& info);     // (reference, start, length) -> NativeTensor
Napi::Value tensorOperation(const Napi::CallbackInfo& info);  // (name, references, arguments) -> NativeTensor
Napi::Value tensorDispose(const Napi::CallbackInfo& info);    // (reference) -> undefined

}  // namespace gradcam
