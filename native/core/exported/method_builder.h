#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/exported/call_tree.h"
#include "core/process/torch.h"

namespace gradcam {

// Writes the methods of the modules of a program: one for each call of a module, which takes what it needs of
// what is outside, and gives what is needed of it there.
class MethodBuilder {
 public:
  // Both must stay.
  MethodBuilder(ExportedProgram& program, const torch::jit::Module& root) : program_(program), root_(root) {}

  // The model's forward, and all that it calls. Returns how many operations were exported in training mode.
  int buildForward(const CallTree& calls);

 private:
  class Method;
  // Of a method, behind the module: values by number, or modules by path, that the caller has to give.
  struct Need {
    ValueId value = -1;
    std::string module;
    auto operator<=>(const Need&) const = default;
  };
  struct Built {
    std::vector<Need> needs;
    std::vector<ValueId> results;
  };

  Built build(const CallTree& call);
  void addMethod(const std::string& path, const std::string& name, std::shared_ptr<torch::jit::Graph> graph);
  const ProgramValue& valueOf(ValueId id) const { return program_.values[static_cast<std::size_t>(id)]; }

  ExportedProgram& program_;
  const torch::jit::Module& root_;
  int trainingOperations_ = 0;
};

}  // namespace gradcam
