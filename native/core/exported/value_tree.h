#pragma once

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

// A value of the tree's form, made of its leaves at the graph's point of insertion.
// Lists of unlike values, which TorchScript does not have, are tuples.
torch::jit::Value* packValues(torch::jit::Graph& graph,
                              const ValueTree& tree,
                              const std::vector<torch::jit::Value*>& leaves);

}  // namespace gradcam
