#pragma once

#include <memory>
#include <vector>

#include "api/target_layer.h"
#include "core/process/torch.h"

namespace gradcam {

// Marks in a graph, one behind each call of a layer, until it is known what hook belongs there. A slot is the
// layer's position among those that are hooked.

void insertMark(torch::jit::Value* output, int slot, torch::jit::Node* behind);

// Lets gradients be recorded from the tensors on that a call is given, for a layer of which one of several
// outputs is explained.
void recordFromArguments(torch::jit::Node* call);

// The marks of each slot, in program order; passes that simplified the graph may have removed some.
std::vector<std::vector<torch::jit::Node*>> findMarks(torch::jit::Graph& graph, std::size_t slots);

// Makes hooks of the marks of the calls that were asked for, and removes the others. A call inside an `if` or
// a loop runs any number of times, so then every mark becomes a hook, unnumbered, and the choice is made
// after forward. Throws ERR_LAYER_NOT_CALLED where there is no call of the number asked for.
void placeHooks(const std::shared_ptr<torch::jit::Graph>& graph, const std::vector<TargetLayer>& layers);

// The first node at the top level from which on gradients are recorded, or a branch or loop with one inside;
// null where there is none.
torch::jit::Node* firstHook(torch::jit::Graph& graph);

}  // namespace gradcam
