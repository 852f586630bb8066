#include "api/tensor_handle.h"

#include "api/failure.h"
#include "core/process/host_memory.h"
#include "core/values/tensor_state.h"

namespace gradcam {
namespace {

struct TypeRow {
  ElementType type;
  at::ScalarType scalar;
  const char* name;
  at::ScalarType exported;
};

constexpr TypeRow kTypes[] = {
    {ElementType::Float16, at::kHalf, "float16", at::kFloat},
    {ElementType::BFloat16, at::kBFloat16, "bfloat16", at::kFloat},
    {ElementType::Float32, at::kFloat, "float32", at::kFloat},
    {ElementType::Float64, at::kDouble, "float64", at::kDouble},
    {ElementType::UInt8, at::kByte, "uint8", at::kByte},
    {ElementType::Int8, at::kChar, "int8", at::kChar},
    {ElementType::Int16, at::kShort, "int16", at::kShort},
    {ElementType::Int32, at::kInt, "int32", at::kInt},
    {ElementType::Int64, at::kLong, "int64", at::kLong},
    {ElementType::Bool, at::kBool, "bool", at::kByte},
};

const TypeRow& rowOf(ElementType type) {
  return kTypes[static_cast<std::size_t>(type)];
}

const TypeRow& rowOf(at::ScalarType scalar) {
  for (const TypeRow& row : kTypes) {
    if (row.scalar == scalar) return row;
  }
  throw Failure("ERR_INTERNAL",
                std::string("Tensors of type ") + at::toString(scalar) + " cannot be read from JavaScript.");
}

}  // namespace

const char* elementTypeName(ElementType type) {
  return rowOf(type).name;
}

std::size_t exportedElementSize(ElementType type) {
  return c10::elementSize(rowOf(type).exported);
}

TensorHandle TensorHandle::copyOf(const void* data, ElementType type, const std::vector<int64_t>& shape) {
  const at::ScalarType scalar = rowOf(type).scalar;
  at::Tensor tensor = emptyOnHost(shape, scalar);
  if (tensor.numel() > 0) copyBytes(tensor.data_ptr(), data, tensor.nbytes());
  return toHandle(std::move(tensor));
}

std::vector<int64_t> TensorHandle::shape() const {
  return state_->tensor.sizes().vec();
}

ElementType TensorHandle::elementType() const {
  return rowOf(state_->tensor.scalar_type()).type;
}

std::string TensorHandle::device() const {
  return state_->tensor.device().str();
}

int64_t TensorHandle::elementCount() const {
  return state_->tensor.numel();
}

std::size_t TensorHandle::byteLength() const {
  return state_->tensor.nbytes();
}

std::size_t TensorHandle::hostBytes() const {
  return state_->tensor.is_cpu() ? state_->tensor.nbytes() : 0;
}

void TensorHandle::copyTo(void* destination) const {
  const StreamOfTensor stream(*state_);
  const at::Tensor source = state_->tensor.to(at::kCPU, rowOf(elementType()).exported).contiguous();
  if (source.numel() > 0) std::memcpy(destination, source.data_ptr(), source.nbytes());
}

TensorHandle TensorHandle::narrow(int64_t start, int64_t length) const {
  const StreamOfTensor stream(*state_);
  return toHandle(state_->tensor.narrow(0, start, length));
}

TensorHandle TensorHandle::at(int64_t index) const {
  const StreamOfTensor stream(*state_);
  return toHandle(state_->tensor.select(0, index));
}

}  // namespace gradcam
