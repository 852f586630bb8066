#include "core/exported/exported_module.h"

#include "core/exported/exported_archive.h"
#include "core/exported/exported_program.h"
#include "core/exported/method_builder.h"
#include "core/exported/module_tree.h"

namespace gradcam {

ExportedModule loadExportedModule(const std::string& path) {
  ExportedArchive archive = readExportedArchive(path);
  ExportedProgram program = readProgram(archive.program);
  const CallTree calls = callTreeOf(program.operations);
  ExportedFacts facts;
  for (const ProgramInput& input : program.inputs) {
    if (input.sizes.empty()) continue;
    facts.inputSizes = input.sizes;
    break;
  }
  torch::jit::Module module = makeModules(calls, program, archive);
  facts.trainingOperations = MethodBuilder(program, module).buildForward(calls);
  return {std::move(module), std::move(facts)};
}

}  // namespace gradcam
