#pragma once

#include <functional>

#include "core/exported/exported_program.h"
#include "core/process/torch.h"

namespace gradcam {

// The arguments of an exported operation as values of a graph, at its point of insertion.
class OperationArguments {
 public:
  // `valueNamed` gives the values that an argument names.
  OperationArguments(torch::jit::Graph& graph,
                     std::function<torch::jit::Value*(const std::string& name)> valueNamed)
      : graph_(graph), valueNamed_(std::move(valueNamed)) {}

  // `type` is that of the operator's parameter, or null where it does not say; `length` that of a list which
  // may be given as one number. Throws ERR_UNSUPPORTED for what is not read.
  torch::jit::Value* valueOf(const Json& argument,
                             const c10::TypePtr& type,
                             std::optional<int32_t> length) const;

 private:
  template <typename Convert>
  torch::jit::Value* constantList(const Json& list, Convert convert) const;
  torch::jit::Value* list(const Json& values,
                          const c10::TypePtr& elements,
                          const std::string& constant) const;
  torch::jit::Value* symbolOf(const Json& symbol, const std::string& constant) const;
  torch::jit::Value* optionalTensor(const Json& argument) const;
  torch::jit::Value* number(const Union& given,
                            const c10::TypePtr& type,
                            std::optional<int32_t> length) const;

  torch::jit::Graph& graph_;
  std::function<torch::jit::Value*(const std::string& name)> valueNamed_;
};

// Whether an argument is a number or a truth value, given or computed, and no tensor.
bool isNumber(const std::string& kindOfArgument);

}  // namespace gradcam
