#pragma once

#include <optional>

#include "api/tensor_handle.h"
#include "core/process/torch.h"

namespace gradcam {

struct TensorState {
  at::Tensor tensor;
  // Of a tensor on a GPU the stream it was made on: whoever computes with it, on whatever thread, goes on
  // there.
  std::optional<c10::Stream> stream = std::nullopt;
};

inline TensorHandle toHandle(at::Tensor tensor) {
  TensorState state{std::move(tensor)};
  if (state.tensor.defined() && !state.tensor.is_cpu()) {
    const at::Device device = state.tensor.device();
    state.stream = c10::impl::VirtualGuardImpl(device.type()).getStream(device);
  }
  return TensorHandle(std::make_shared<const TensorState>(std::move(state)));
}

// While it lives, this thread works on the tensor's stream. Does nothing for the CPU.
class StreamOfTensor {
 public:
  explicit StreamOfTensor(const TensorState& state) {
    if (state.stream) guard_.emplace(*state.stream);
  }

 private:
  std::optional<c10::StreamGuard> guard_;
};

}  // namespace gradcam
