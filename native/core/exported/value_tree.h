#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/exported/json_reading.h"
#include "core/process/torch.h"

namespace gradcam {

// How values lie in tuples, lists and dictionaries: PyTorch's pytree, of what a program takes and gives.
struct ValueTree {
  enum class Kind { Leaf, Tuple, List, Dictionary } kind = Kind::Leaf;
  std::vector<std::string> keys;  // of a dictionary, one for each child
  std::vector<ValueTree> children;

  // As torch.utils._pytree.treespec_dumps writes it.
  static ValueTree of(const std::string& text);
  std::size_t leaves() const;
};

// The leaves of a tree in their order; a null pointer is a leaf that has no value.
using Leaves = std::vector<torch::jit::Value*>;

// A value of the tree's form, made of its leaves at the graph's point of insertion.
torch::jit::Value* packValues(torch::jit::Graph& graph, const ValueTree& tree, const Leaves& leaves);

// The type of a tree with leaves of these types.
c10::TypePtr typeOfTree(const ValueTree& tree, const std::vector<c10::TypePtr>& leaves);

// The leaves of a value of the tree's form.
Leaves unpackValue(torch::jit::Graph& graph, const ValueTree& tree, torch::jit::Value* value);

}  // namespace gradcam
