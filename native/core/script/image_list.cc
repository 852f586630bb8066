#include "core/script/image_list.h"

#include <algorithm>

#include "core/script/argument_conversion.h"

namespace gradcam {

bool takesImageList(const torch::jit::Module& module) {
  const auto forward = module.find_method("forward");
  if (!forward) return false;
  const auto& arguments = forward->function().getSchema().arguments();
  if (arguments.size() < 2) return false;  // the first is the module itself
  const auto list = arguments[1].type()->cast<c10::ListType>();
  return list && list->getElementType()->isSubtypeOf(*c10::TensorType::get()) &&
         std::all_of(arguments.begin() + 2, arguments.end(), [](const c10::Argument& argument) {
           return argument.default_value() || !takesTensor(argument);
         });
}

c10::IValue toImageList(const std::vector<at::Tensor>& inputs) {
  c10::List<at::Tensor> images;
  for (const at::Tensor& tensor : inputs) {
    if (tensor.dim() != 4) {
      images.push_back(tensor);
      continue;
    }
    for (const at::Tensor& image : tensor.unbind(0)) images.push_back(image);
  }
  return images;
}

}  // namespace gradcam
