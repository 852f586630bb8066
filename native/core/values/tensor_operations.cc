#include "api/tensor_operations.h"

#include <functional>
#include <map>

#include "api/failure.h"
#include "core/values/tensor_state.h"

namespace gradcam {
namespace {

struct Operands {
  at::Tensor self;
  at::Tensor other;  // undefined where the operation has one operand, or a scalar
  const OperationArguments& arguments;

  double scalar() const { return arguments.first.value(); }
  int64_t dimension() const { return arguments.dimensions.at(0); }
  bool ofAll() const { return arguments.dimensions.empty(); }
};

using Operation = std::function<at::Tensor(const Operands&)>;

const std::map<std::string, Operation>& operations() {
  static const std::map<std::string, Operation> table = {
      {"select",
       [](const Operands& x) { return x.self.select(x.dimension(), x.arguments.dimensions.at(1)); }},
      {"add", [](const Operands& x) { return x.other.defined() ? x.self + x.other : x.self + x.scalar(); }},
      {"sub", [](const Operands& x) { return x.other.defined() ? x.self - x.other : x.self - x.scalar(); }},
      {"mul", [](const Operands& x) { return x.other.defined() ? x.self * x.other : x.self * x.scalar(); }},
      {"div", [](const Operands& x) { return x.other.defined() ? x.self / x.other : x.self / x.scalar(); }},
      {"sum",
       [](const Operands& x) {
         return x.ofAll() ? x.self.sum() : x.self.sum(x.arguments.dimensions, x.arguments.keepDimensions);
       }},
      {"mean",
       [](const Operands& x) {
         return x.ofAll() ? x.self.mean() : x.self.mean(x.arguments.dimensions, x.arguments.keepDimensions);
       }},
      {"max",
       [](const Operands& x) {
         return x.ofAll() ? x.self.max() : std::get<0>(x.self.max(x.dimension(), x.arguments.keepDimensions));
       }},
      {"softmax", [](const Operands& x) { return x.self.softmax(x.dimension()); }},
      {"logSoftmax", [](const Operands& x) { return x.self.log_softmax(x.dimension()); }},
      {"matmul", [](const Operands& x) { return x.self.matmul(x.other); }},
      {"reshape", [](const Operands& x) { return x.self.reshape(x.arguments.dimensions); }},
      {"norm",
       [](const Operands& x) {
         const auto dimensions =
             x.ofAll() ? at::OptionalIntArrayRef() : at::OptionalIntArrayRef(x.arguments.dimensions);
         return at::linalg_vector_norm(x.self, x.scalar(), dimensions, x.arguments.keepDimensions);
       }},
      {"clamp",
       [](const Operands& x) {
         const auto bound = [](const std::optional<double>& value) {
           return value ? std::optional<at::Scalar>(*value) : std::nullopt;
         };
         return x.self.clamp(bound(x.arguments.first), bound(x.arguments.second));
       }},
      {"exp", [](const Operands& x) { return x.self.exp(); }},
      {"log", [](const Operands& x) { return x.self.log(); }},
  };
  return table;
}

}  // namespace

TensorHandle applyOperation(const std::string& name,
                            const std::vector<TensorHandle>& operands,
                            const OperationArguments& arguments) {
  const auto operation = operations().find(name);
  if (operation == operations().end() || operands.empty() || operands.size() > 2)
    throw Failure("ERR_INTERNAL", "There is no tensor operation '" + name + "' of these operands.");
  try {
    const at::AutoGradMode record(true);
    at::Tensor other;
    // Constants come from JavaScript and thus lie on the CPU; the model's output may be on a GPU.
    const at::Tensor& self = operands[0].state().tensor;
    const StreamOfTensor stream(operands[0].state());
    if (operands.size() == 2) other = operands[1].state().tensor.to(self.device());
    return toHandle(operation->second({self, other, arguments}));
  } catch (...) {
    const Failure failure = toFailure(std::current_exception(), "ERR_TENSOR_OPERATION");
    if (failure.code != "ERR_TENSOR_OPERATION") throw failure;
    throw Failure("ERR_TENSOR_OPERATION", name + ": " + torchMessage(std::current_exception()));
  }
}

}  // namespace gradcam
