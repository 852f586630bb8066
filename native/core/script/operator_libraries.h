#pragma once

#include <exception>
#include <optional>
#include <string>

namespace gradcam {

// Loads a library of custom operators (torchvision's, or one of the user's own) into this process, once.
// Throws ERR_OPERATOR_LIBRARY where there is none, or where it does not fit this LibTorch.
void loadOperatorLibrary(const std::string& path);

// The operator, or the custom class, that LibTorch did not know when it read a model: "torchvision::nms".
std::optional<std::string> missingOperator(const std::string& message);

}  // namespace gradcam
