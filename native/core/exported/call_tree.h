#pragma once

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "core/exported/exported_program.h"

namespace gradcam {

// The calls of modules that the operations of a program were written by: a call holds operations, by their
// index, and calls.
struct CallTree {
  std::string path;    // of the module; empty for the model
  std::string type;    // the module's class in Python
  std::string method;  // forward, forward1, ...: the calls of a module in their order, as traces name them
  int first = 0, last = -1;  // operations
  using Item = std::variant<int, std::unique_ptr<CallTree>>;
  std::vector<Item> items;
};

// Operations between those of a call belong to it, whatever they say: torch.export shares the arithmetic of
// sizes. Where the calls of two modules are mixed, neither is a call of a layer: its method is no forward.
CallTree callTreeOf(const std::vector<Operation>& operations);

}  // namespace gradcam
