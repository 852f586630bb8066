#include "core/script/torchvision_gradients.h"

#include "api/failure.h"
#include "core/process/torch.h"

namespace gradcam {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using torch::jit::Stack;

constexpr const char* kDeformConv = "deform_conv2d";

c10::OperatorHandle torchvisionOperator(const std::string& name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(("torchvision::" + name).c_str(), "");
}

Stack call(const std::string& name, Stack stack) {
  torchvisionOperator(name).callBoxed(&stack);
  return stack;
}

void refuseSecondDerivative(const at::Tensor& gradient, const std::string& name) {
  if (!at::GradMode::is_enabled() || !gradient.requires_grad()) return;
  throw Failure("ERR_UNSUPPORTED",
                "The second derivative through torchvision::" + name +
                    " is not known, so methods that need it (ShapleyCAM) cannot explain this model "
                    "at this layer.");
}

// What a custom autograd function is called with besides its tensors.
struct Arguments {
  std::string name;
  Stack stack;
};

// roi_align, roi_pool and their position-sensitive kin: (input, regions, scale, height, width, ...) -> pooled
// and, but for roi_align, where the values came from.
class RegionPooling : public torch::autograd::Function<RegionPooling> {
 public:
  static variable_list forward(AutogradContext* context,
                               const at::Tensor& input,
                               const Arguments& arguments) {
    const at::AutoDispatchBelowADInplaceOrView below;
    variable_list outputs;
    for (const c10::IValue& value : call(arguments.name, arguments.stack))
      outputs.push_back(value.toTensor());
    variable_list saved = {arguments.stack.at(1).toTensor()};
    if (outputs.size() > 1) {
      context->mark_non_differentiable({outputs[1]});
      saved.push_back(outputs[1]);
    }
    context->save_for_backward(saved);
    c10::impl::GenericList numbers(c10::AnyType::get());
    for (std::size_t index = 2; index < arguments.stack.size(); ++index)
      numbers.push_back(arguments.stack[index]);
    context->saved_data["name"] = arguments.name;
    context->saved_data["numbers"] = numbers;
    context->saved_data["sizes"] = input.sizes().vec();
    return outputs;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const std::string name = context->saved_data["name"].toStringRef();
    refuseSecondDerivative(gradients.at(0), name);
    const auto numbers = context->saved_data["numbers"].toList();
    Stack stack = {gradients[0]};
    for (const at::Tensor& saved : context->get_saved_variables()) stack.emplace_back(saved);
    const bool samplingFirst = name == "ps_roi_align";
    const std::size_t beforeSizes = samplingFirst ? 4 : 3;  // scale, height, width
    for (std::size_t index = 0; index < beforeSizes; ++index) stack.push_back(numbers.get(index));
    for (const int64_t size : context->saved_data["sizes"].toIntVector()) stack.emplace_back(size);
    for (std::size_t index = beforeSizes; index < numbers.size(); ++index)
      stack.push_back(numbers.get(index));
    return {call("_" + name + "_backward", std::move(stack)).at(0).toTensor(), at::Tensor()};
  }
};

// deform_conv2d(input, weight, offset, mask, bias, ...).
class DeformableConvolution : public torch::autograd::Function<DeformableConvolution> {
 public:
  static variable_list forward(AutogradContext* context,
                               const at::Tensor& input,
                               const at::Tensor& weight,
                               const at::Tensor& offset,
                               const at::Tensor& mask,
                               const at::Tensor& bias,
                               const Arguments& arguments) {
    const at::AutoDispatchBelowADInplaceOrView below;
    context->save_for_backward({input, weight, offset, mask, bias});
    c10::impl::GenericList numbers(c10::AnyType::get());
    for (std::size_t index = 5; index < arguments.stack.size(); ++index)
      numbers.push_back(arguments.stack[index]);
    context->saved_data["numbers"] = numbers;
    return {call(kDeformConv, arguments.stack).at(0).toTensor()};
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    refuseSecondDerivative(gradients.at(0), kDeformConv);
    Stack stack = {gradients[0]};
    for (const at::Tensor& saved : context->get_saved_variables()) stack.emplace_back(saved);
    const auto numbers = context->saved_data["numbers"].toList();
    for (std::size_t index = 0; index < numbers.size(); ++index) stack.push_back(numbers.get(index));
    variable_list results;
    for (const c10::IValue& value : call("_deform_conv2d_backward", std::move(stack)))
      results.push_back(value.toTensor());
    results.emplace_back();
    return results;
  }
};

// What the dispatcher calls where autograd may have to record one of these operators.
void record(const c10::OperatorHandle& handle, Stack* stack) {
  const std::size_t count = handle.schema().arguments().size();
  const std::string& whole = handle.schema().name();
  Arguments arguments{whole.substr(whole.find("::") + 2), torch::jit::last(*stack, count).vec()};
  torch::jit::drop(*stack, count);
  const auto tensor = [&](std::size_t index) { return arguments.stack.at(index).toTensor(); };
  const variable_list outputs =
      arguments.name == kDeformConv
          ? DeformableConvolution::apply(tensor(0), tensor(1), tensor(2), tensor(3), tensor(4), arguments)
          : RegionPooling::apply(tensor(0), arguments);
  for (const at::Tensor& output : outputs) stack->emplace_back(output);
}

}  // namespace

void registerTorchvisionGradients() {
  static std::vector<torch::Library> registrations;  // callers hold a lock
  for (const std::string name : {"roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", kDeformConv}) {
    const auto handle = c10::Dispatcher::singleton().findSchema({"torchvision::" + name, ""});
    if (!handle || handle->hasKernelForDispatchKey(c10::DispatchKey::Autograd) ||
        handle->hasKernelForDispatchKey(c10::DispatchKey::AutogradCPU))
      continue;
    registrations.emplace_back(torch::Library::IMPL, "torchvision", c10::DispatchKey::Autograd, __FILE__,
                               __LINE__);
    registrations.back().impl(name.c_str(), torch::CppFunction::makeFromBoxedFunction<&record>());
  }
}

}  // namespace gradcam
