#pragma once

#include <string>
#include <vector>

#include "core/process/torch.h"

namespace gradcam {

// What to do where there is no gradient.
inline constexpr const char* kMethodsWithoutGradients =
    "EigenCAM, FEM, ScoreCAM and AblationCAM need no gradient";

// torch::autograd::grad, undefined where an input is not used; float16 and bfloat16 come as float32. What
// autograd cannot differentiate is ERR_UNSUPPORTED, with the operator's name and the methods that need no
// gradient.
std::vector<at::Tensor> derivatives(const at::Tensor& output,
                                    const std::vector<at::Tensor>& inputs,
                                    bool retainGraph,
                                    bool createGraph = false,
                                    std::vector<at::Tensor> gradientOfOutput = {});

// LibTorch's refusal of a write in place that could not be taken out of the graph, as ERR_UNSUPPORTED.
[[noreturn]] void throwWritesInPlace(const std::string& message);

}  // namespace gradcam
