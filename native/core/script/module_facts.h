#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/layers.h"
#include "core/process/torch.h"

namespace gradcam {

// What a module tells of itself, without being run.

// Whether it went through torch.jit.freeze, which makes constants of the weights and takes all layers away.
bool isFrozen(const torch::jit::Module& module);

// The submodule at a dotted path; none where there is none.
std::optional<torch::jit::Module> moduleNamed(const torch::jit::Module& model, const std::string& path);

// A parameter, buffer or other attribute; undefined where there is none, or it is no tensor.
at::Tensor tensorAttribute(const torch::jit::Module& module, const std::string& name);

// All submodules in the order of their registration; of a frozen module the values of its graph that are
// tensors.
std::vector<LayerInfo> listLayers(const torch::jit::Module& module);

// Of a frozen module the values with a spatial result, as a user may name them.
std::vector<std::string> frozenValueNames(const torch::jit::Module& module);

// Of the first floating-point parameter; of a frozen module that of its constants.
std::optional<at::ScalarType> floatingTypeOf(const torch::jit::Module& module);

// The floating-point type that most elements of the constants in the file's code have: a frozen file's
// weights are there.
std::optional<at::ScalarType> floatingTypeOfConstants(const torch::jit::Module& module);

}  // namespace gradcam
