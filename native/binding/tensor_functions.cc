#include "binding/tensor_functions.h"

#include <limits>

#include "api/tensor_operations.h"
#include "binding/conversions.h"
#include "binding/errors.h"
#include "binding/reading.h"

namespace gradcam {
namespace {

ElementType elementTypeOf(const Napi::TypedArray& array) {
  switch (array.TypedArrayType()) {
    case napi_float32_array:
      return ElementType::Float32;
    case napi_float64_array:
      return ElementType::Float64;
    case napi_uint8_array:
    case napi_uint8_clamped_array:
      return ElementType::UInt8;
    case napi_int8_array:
      return ElementType::Int8;
    case napi_int16_array:
      return ElementType::Int16;
    case napi_int32_array:
      return ElementType::Int32;
    case napi_bigint64_array:
      return ElementType::Int64;
    default:
      throw Napi::TypeError::New(array.Env(), "Tensors cannot be made of this kind of typed array.");
  }
}

napi_typedarray_type arrayTypeOf(ElementType type) {
  switch (type) {
    case ElementType::Float64:
      return napi_float64_array;
    case ElementType::UInt8:
    case ElementType::Bool:
      return napi_uint8_array;
    case ElementType::Int8:
      return napi_int8_array;
    case ElementType::Int16:
      return napi_int16_array;
    case ElementType::Int32:
      return napi_int32_array;
    case ElementType::Int64:
      return napi_bigint64_array;
    default:
      return napi_float32_array;
  }
}

Napi::RangeError outOfRange(Napi::Env env, const char* message) {
  auto error = Napi::RangeError::New(env, message);
  error.Set("code", Napi::String::New(env, "ERR_OUT_OF_RANGE"));
  return error;
}

// The shape, checked to describe exactly `length` elements without overflow.
std::vector<int64_t> toShape(const Napi::Value& value, std::size_t length) {
  if (!value.IsArray()) throw Napi::TypeError::New(value.Env(), "Expected an array for shape.");
  const auto array = value.As<Napi::Array>();
  std::vector<int64_t> shape;
  uint64_t count = 1;
  for (uint32_t index = 0; index < array.Length(); ++index) {
    const int64_t size = array.Get(index).ToNumber().Int64Value();
    const bool overflows =
        size > 0 && count > std::numeric_limits<uint64_t>::max() / static_cast<uint64_t>(size);
    if (size < 0 || overflows) throw outOfRange(value.Env(), "The shape is not valid.");
    count *= static_cast<uint64_t>(size);
    shape.push_back(size);
  }
  if (count != length) throw outOfRange(value.Env(), "The shape does not match the number of elements.");
  return shape;
}

}  // namespace

Napi::Value tensorFromTypedArray(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    if (!info[0].IsTypedArray()) throw Napi::TypeError::New(info.Env(), "Expected a typed array.");
    const auto array = info[0].As<Napi::TypedArray>();
    const auto shape = toShape(info[1], array.ElementLength());
    // Copied here, on the JavaScript thread: what the caller does with the array afterwards does not matter.
    const auto* bytes = static_cast<const uint8_t*>(array.ArrayBuffer().Data()) + array.ByteOffset();
    return fromTensor(info.Env(), TensorHandle::copyOf(bytes, elementTypeOf(array), shape));
  });
}

Napi::Value tensorCopyTo(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const TensorHandle tensor = toTensor(info[0]);
    if (!info[1].IsTypedArray()) throw Napi::TypeError::New(info.Env(), "Expected a typed array.");
    const auto array = info[1].As<Napi::TypedArray>();
    const bool fits = array.TypedArrayType() == arrayTypeOf(tensor.elementType()) &&
                      array.ElementLength() == static_cast<std::size_t>(tensor.elementCount());
    if (!fits) throw Napi::TypeError::New(info.Env(), "The typed array does not fit the tensor.");
    tensor.copyTo(static_cast<uint8_t*>(array.ArrayBuffer().Data()) + array.ByteOffset());
    return info.Env().Undefined();
  });
}

Napi::Value tensorShare(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value { return fromTensor(info.Env(), toTensor(info[0])); });
}

Napi::Value tensorAt(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return fromTensor(info.Env(), toTensor(info[0]).at(info[1].ToNumber().Int64Value()));
  });
}

Napi::Value tensorNarrow(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return fromTensor(info.Env(), toTensor(info[0]).narrow(info[1].ToNumber().Int64Value(),
                                                           info[2].ToNumber().Int64Value()));
  });
}

Napi::Value tensorOperation(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Object given = info[2].ToObject();
    const auto scalar = [&](const char* key) -> std::optional<double> {
      const Napi::Value value = optional(given, key);
      if (value.IsNumber()) return value.As<Napi::Number>().DoubleValue();
      return std::nullopt;
    };
    OperationArguments arguments;
    arguments.dimensions = toVector<int64_t>(need(given, "dimensions"), [](const Napi::Value& dimension) {
      return dimension.ToNumber().Int64Value();
    });
    arguments.first = scalar("first");
    arguments.second = scalar("second");
    arguments.keepDimensions = optional(given, "keepDimensions").ToBoolean();
    return fromTensor(info.Env(), applyOperation(info[0].ToString(), toTensors(info[1]), arguments));
  });
}

Napi::Value tensorDispose(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    releaseTensor(info[0]);
    return info.Env().Undefined();
  });
}

}  // namespace gradcam
