#pragma once

#include <memory>
#include <set>
#include <string>

#include "core/process/torch.h"

namespace gradcam {

// A forward may write into tensors: with `relu_` or `x[:, 0] = 0`, into its input, into buffers of the model.
// The tensors of a caller and of a model that several threads run are not its to change, and autograd refuses
// many such writes.

// Gives the graph copies of those of its inputs, but the model, that it may write to.
void ownInputs(std::shared_ptr<torch::jit::Graph>& graph);

// The names of the model's attributes that the graph assigns or writes into. (All attributes of that name:
// which object is meant cannot always be told.)
std::set<std::string> writtenAttributes(const std::shared_ptr<torch::jit::Graph>& graph);

// A copy of a model's objects whose attributes of these names are its own; everything else is shared.
c10::IValue copyWithOwn(const c10::IValue& model, const std::set<std::string>& attributes);

// Takes in-place operations away where an operation that makes a new tensor does the same; the others write
// into a copy made for them, and what reads the tensor later, or another view of it, reads the copy. A write
// whose tensor is reached in a way that the graph does not show stays.
void removeInPlaceWrites(std::shared_ptr<torch::jit::Graph>& graph);

}  // namespace gradcam
