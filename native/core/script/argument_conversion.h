#pragma once

#include <optional>
#include <string>

#include "api/given_inputs.h"
#include "core/process/torch.h"

namespace gradcam {

// Where tensors among the arguments go, and the type of those of numbers that are not all whole.
struct ArgumentTensors {
  at::Device device;
  std::optional<at::ScalarType> floatingType;
};

// "forward(x: Tensor, sr: int = 16000)"
std::string signatureOf(const c10::FunctionSchema& schema);

// Whether a tensor can be given for it: Tensor, Optional[Tensor] and their like.
bool takesTensor(const c10::Argument& parameter);

// The arguments as the parameters' types want them, and where there is none the model's default. A parameter
// of type Tensor takes numbers and nested lists of them. Defaults for parameters that the method does not
// have are passed over. Throws ERR_MODEL_ARGUMENTS.
torch::jit::Kwargs convertArguments(const c10::FunctionSchema& schema,
                                    const Arguments& given,
                                    const Arguments& defaults,
                                    const ArgumentTensors& tensors);

}  // namespace gradcam
