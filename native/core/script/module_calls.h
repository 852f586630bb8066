#pragma once

#include <functional>
#include <string>

#include "core/process/torch.h"

namespace gradcam {

// Told of every call of a submodule's forward just before it is inlined, in program order, callers first: the
// layer's dotted path, the value the call gives, and the node before which code for right behind the call can
// be inserted.
using OnLayerOutput =
    std::function<void(const std::string& path, torch::jit::Value* output, torch::jit::Node* behind)>;

// A copy of the graph of a method of `module` with every call inlined. Layers are known by the path of
// attributes that leads to them, not by their graphs: siblings of one scripted class share a graph. The
// module is not changed.
std::shared_ptr<torch::jit::Graph> inlineModuleCalls(const torch::jit::Module& module,
                                                     const std::string& method,
                                                     const OnLayerOutput& onLayerOutput);

}  // namespace gradcam
