// What ModelState makes of a call's inputs.
#include <algorithm>
#include <cmath>

#include "api/failure.h"
#include "core/model/model_state.h"
#include "core/process/host_memory.h"
#include "core/script/argument_conversion.h"
#include "core/values/tensor_state.h"

namespace gradcam {

torch::jit::Kwargs ModelState::prepareArguments(const std::string& method, const Arguments& given) const {
  checkMethod(method);
  const c10::FunctionSchema& schema = module.get_method(method).function().getSchema();
  return convertArguments(schema, given, defaults, {device, floatingType_});
}

void ModelState::checkDefaults() const {
  std::vector<std::string> known, signatures;
  for (const auto& method : module.get_methods()) {
    prepareArguments(method.name(), {});
    const c10::FunctionSchema& schema = method.function().getSchema();
    signatures.push_back(signatureOf(schema));
    for (std::size_t index = 2; index < schema.arguments().size(); ++index)  // behind module and input
      known.push_back(schema.arguments()[index].name());
  }
  for (const auto& [name, value] : defaults) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    throw Failure("ERR_MODEL_ARGUMENTS", "The model has no parameter '" + name +
                                             "' beside its input: it has " + joined(signatures) + ".");
  }
}

ModelInputs ModelState::prepareInputs(const std::string& method, const GivenInputs& inputs) const {
  // The parts of a batch are those of several callers, whose images have one size.
  const bool inParts = std::any_of(inputs.tensors.begin(), inputs.tensors.end(),
                                   [](const auto& parts) { return parts.size() > 1; });
  if (inParts) return prepareBatches(method, inputs);
  ModelInputs prepared{{}, prepareArguments(method, inputs.arguments)};
  for (const auto& parts : inputs.tensors) {
    for (const TensorHandle& input : parts)
      prepared.tensors.push_back(prepareInput(input.state().tensor, prepared.tensors.empty()));
  }
  return prepared;
}

ModelInputs ModelState::prepareBatches(const std::string& method,
                                       const GivenInputs& inputs,
                                       at::Tensor* finite) const {
  ModelInputs prepared{{}, prepareArguments(method, inputs.arguments)};
  const bool imageList = method == "forward" && takesImageList_;
  auto inputsInParts = inputs.tensors;
  if (imageList) {  // one input, however the images were given
    for (std::size_t index = 1; index < inputsInParts.size(); ++index)
      inputsInParts[0].insert(inputsInParts[0].end(), inputsInParts[index].begin(),
                              inputsInParts[index].end());
    inputsInParts.resize(1);
  }
  for (const auto& parts : inputsInParts) {
    std::vector<at::Tensor> tensors;
    for (const TensorHandle& part : parts) {
      const at::Tensor tensor = copyToDevice(part.state().tensor, device);
      tensors.push_back(imageList && tensor.dim() == 3 ? tensor.unsqueeze(0) : tensor);
      const at::Tensor &first = tensors.front(), &last = tensors.back();
      const bool fits = parts.size() == 1 || (first.dim() == last.dim() && first.dim() > 0 &&
                                              first.sizes().slice(1) == last.sizes().slice(1) &&
                                              first.scalar_type() == last.scalar_type());
      if (!fits) throw Failure("ERR_INPUT_SHAPE", "The inputs of one batch differ in shape or element type.");
    }
    const at::Tensor whole = tensors.size() == 1 ? tensors.front() : at::cat(tensors);
    prepared.tensors.push_back(prepareInput(whole, prepared.tensors.empty(), finite));
  }
  return prepared;
}

void ModelState::checkInputFinite(const at::Tensor& finite) {
  if (!finite.defined() || finite.item<bool>()) return;
  throw Failure("ERR_INPUT_NOT_FINITE",
                "The input holds NaN or infinite values. Check the preprocessing: a division by zero in the "
                "standard deviation, or an image that was decoded wrongly.");
}

at::Tensor ModelState::prepareInput(at::Tensor tensor, bool isPicture, at::Tensor* finite) const {
  if (tensor.numel() == 0) {
    throw Failure("ERR_INPUT_SHAPE", "The input is empty: every dimension must be at least 1.");
  }
  tensor = copyToDevice(tensor, device);  // first, for a GPU checks and casts faster
  if (at::isFloatingType(tensor.scalar_type())) {
    // Masks among the further inputs hold minus infinity on purpose.
    if (isPicture) {
      if (finite != nullptr && !device.is_cpu()) {
        *finite = at::isfinite(tensor).all();
      } else if (!std::isfinite(tensor.sum().item<double>())) {  // one pass; large values may overflow
        checkInputFinite(at::isfinite(tensor).all());
      }
    }
    if (floatingType_) tensor = tensor.to(*floatingType_);
  }
  return tensor;
}

}  // namespace gradcam
