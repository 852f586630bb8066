#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace gradcam {

enum class ElementType { Float16, BFloat16, Float32, Float64, UInt8, Int8, Int16, Int32, Int64, Bool };

const char* elementTypeName(ElementType type);
// Bytes of one element as JavaScript reads it: float16 and bfloat16 are widened to float32, bool to uint8.
std::size_t exportedElementSize(ElementType type);

struct TensorState;  // holds the at::Tensor; see tensor_state.h

// A tensor as the binding sees it: shared, immutable, and free of LibTorch's headers.
class TensorHandle {
 public:
  explicit TensorHandle(std::shared_ptr<const TensorState> state) : state_(std::move(state)) {}

  // Copies `data`, which must hold the product of `shape` elements of `type`.
  static TensorHandle copyOf(const void* data, ElementType type, const std::vector<int64_t>& shape);

  std::vector<int64_t> shape() const;
  ElementType elementType() const;
  std::string device() const;
  int64_t elementCount() const;
  std::size_t byteLength() const;
  std::size_t hostBytes() const;  // of the process's own memory: none for a tensor on a GPU
  // Contiguous, row-major copy into `destination`: elementCount() * exportedElementSize() bytes.
  void copyTo(void* destination) const;
  // The index-th slice of the first dimension; shares memory. Throws Failure ERR_INTERNAL when out of range.
  TensorHandle at(int64_t index) const;

  // `length` slices of the first dimension from `start` on; shares memory.
  TensorHandle narrow(int64_t start, int64_t length) const;

  const TensorState& state() const { return *state_; }

 private:
  std::shared_ptr<const TensorState> state_;
};

}  // namespace gradcam
