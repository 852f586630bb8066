#include "core/script/model_inputs.h"

#include <algorithm>
#include <functional>

#include "api/failure.h"
#include "core/process/host_memory.h"
#include "core/script/argument_conversion.h"
#include "core/script/image_list.h"

namespace gradcam {
namespace {

// Whether a tensor inside of the value is as asked for.
bool anyTensor(const c10::IValue& value, const std::function<bool(const at::Tensor&)>& isSo) {
  const auto inside = [&](const c10::IValue& each) { return anyTensor(each, isSo); };
  if (value.isTensor()) return isSo(value.toTensor());
  if (value.isTuple()) {
    const auto& elements = value.toTupleRef().elements();
    return std::any_of(elements.begin(), elements.end(), inside);
  }
  if (value.isList()) {
    const auto elements = value.toListRef();
    return std::any_of(elements.begin(), elements.end(), inside);
  }
  if (!value.isGenericDict()) return false;
  const auto dict = value.toGenericDict();
  return std::any_of(dict.begin(), dict.end(), [&](const auto& entry) { return inside(entry.value()); });
}

[[noreturn]] void throwArguments(const std::string& problem, const c10::FunctionSchema& schema) {
  throw Failure("ERR_MODEL_ARGUMENTS", problem + " The model has " + signatureOf(schema) + ".");
}

std::string tensorsOf(std::size_t count) {
  return std::to_string(count) + (count == 1 ? " tensor" : " tensors");
}

}  // namespace

ModelInputs ModelInputs::with(at::Tensor images) const {
  ModelInputs changed = *this;
  changed.tensors.at(0) = std::move(images);
  return changed;
}

ModelInputs ModelInputs::ofRows(at::ArrayRef<int64_t> imageOfRow,
                                at::Tensor rows,
                                const std::vector<bool>& shared) const {
  for (const auto& [name, value] : arguments) {
    const bool perImage = count() > 1 && anyTensor(value, [&](const at::Tensor& tensor) {
                            return tensor.dim() > 0 && tensor.size(0) == count();
                          });
    if (!perImage) continue;
    throw Failure("ERR_UNSUPPORTED",
                  "This method runs the model for each image apart, and the argument '" + name +
                      "' may hold something for each of the " + std::to_string(count()) +
                      " images. Give it as an input beside the images, or one image at a time.");
  }
  ModelInputs made{{std::move(rows)}, arguments};
  for (std::size_t other = 1; other < tensors.size(); ++other) {
    if (shared.at(other)) {
      made.tensors.push_back(tensors[other]);
      continue;
    }
    made.tensors.push_back(tensors[other].index_select(0, indexTensor(imageOfRow, tensors[other].device())));
  }
  return made;
}

bool ModelInputs::haveTensorArguments() const {
  return std::any_of(arguments.begin(), arguments.end(), [](const auto& argument) {
    return anyTensor(argument.second, [](const at::Tensor&) { return true; });
  });
}

torch::jit::Stack toStack(const c10::FunctionSchema& schema, const ModelInputs& inputs, bool imageList) {
  const auto& parameters = schema.arguments();
  torch::jit::Stack stack;
  std::size_t given = 0, taken = 0;
  const c10::Argument* missing = nullptr;
  for (std::size_t index = 1; index < parameters.size(); ++index) {  // the first is the module
    const c10::Argument& parameter = parameters[index];
    const auto argument = inputs.arguments.find(parameter.name());
    if (argument != inputs.arguments.end()) {
      stack.push_back(argument->second);
    } else if (imageList && index == 1) {
      stack.push_back(toImageList(inputs.tensors));
      given = inputs.tensors.size();
    } else if (takesTensor(parameter) && given < inputs.tensors.size()) {
      stack.emplace_back(inputs.tensors[given++]);
    } else if (parameter.default_value()) {
      stack.push_back(*parameter.default_value());
    } else if (missing == nullptr) {
      missing = &parameter;
    }
    if (takesTensor(parameter) && argument == inputs.arguments.end()) ++taken;
  }
  if (given < inputs.tensors.size()) {
    throwArguments("There are " + tensorsOf(inputs.tensors.size()) + " and the method takes " +
                       std::to_string(taken) + " (other values are given by name, as `arguments`).",
                   schema);
  }
  if (missing != nullptr) {
    throwArguments("There is nothing for the parameter '" + missing->name() + "' (" +
                       missing->type()->annotation_str() + "): give it " +
                       (takesTensor(*missing) ? "as another input, or by name, as one of `arguments`."
                                              : "by name, as one of `arguments`."),
                   schema);
  }
  return stack;
}

}  // namespace gradcam
