#pragma once

#include "core/exported/operation_arguments.h"

namespace gradcam {

// Whether an operation only checks what torch.export assumed of sizes.
bool isAssertion(const std::string& target);

// Puts an operator of PyTorch, or arithmetic of sizes, at the graph's point of insertion, and gives its
// results as the file names them: lists taken apart. Throws a std::runtime_error for operators that are not
// there, as LibTorch's own loader does, and ERR_UNSUPPORTED for what no graph can hold.
std::vector<torch::jit::Value*> insertOperation(torch::jit::Graph& graph,
                                                const Json& node,
                                                const OperationArguments& arguments,
                                                int& trainingOperations);

}  // namespace gradcam
