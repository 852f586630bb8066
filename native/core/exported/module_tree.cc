#include "core/exported/module_tree.h"

#include <algorithm>
#include <cctype>
#include <map>

namespace gradcam {
namespace {

using torch::jit::Module;

constexpr std::ptrdiff_t kDeepestPath = 200;

// A class's name in Python as TorchScript may have it, which has identifiers only.
c10::QualifiedName typeNameOf(const std::string& type) {
  std::string name = "__torch__.";
  for (const char letter : type) {
    const bool allowed = std::isalnum(static_cast<unsigned char>(letter)) != 0 || letter == '_';
    if (allowed) {
      const bool startsWithDigit =
          name.back() == '.' && std::isdigit(static_cast<unsigned char>(letter)) != 0;
      if (startsWithDigit) name += '_';
      name += letter;
    } else if (name.back() != '.') {
      name += letter == '.' ? '.' : '_';
    }
  }
  if (name.back() == '.') name += "Module";
  return c10::QualifiedName(name);
}

void collectTypes(const CallTree& call, std::map<std::string, std::string>& types) {
  for (const CallTree::Item& item : call.items) {
    const auto* child = std::get_if<std::unique_ptr<CallTree>>(&item);
    if (child == nullptr) continue;
    types.emplace((*child)->path, (*child)->type);
    collectTypes(**child, types);
  }
}

class ModuleTree {
 public:
  explicit ModuleTree(std::map<std::string, std::string> types)
      : types_(std::move(types)),
        units_(std::make_shared<torch::jit::CompilationUnit>()),
        root_(made("Model")) {}

  Module& root() { return root_; }

  // Made where it is not there, with what it is in.
  Module at(const std::string& path) {
    if (path.empty()) return root_;
    const auto known = modules_.find(path);
    if (known != modules_.end()) return known->second;
    if (std::count(path.begin(), path.end(), '.') > kDeepestPath)
      throwDamaged("modules are in one another more often than a model has them");
    const auto type = types_.find(path);
    Module parent = at(parentOf(path));
    Module module = made(type == types_.end() ? "Module" : type->second);
    const std::string name = lastNameOf(path);
    if (name.empty() || parent.hasattr(name)) throwDamaged("there cannot be a module '" + path + "'");
    parent.register_module(name, module);
    return modules_.emplace(path, std::move(module)).first->second;
  }

 private:
  Module made(const std::string& type) {
    Module module(typeNameOf(type), units_, /*shouldMangle=*/true);
    module.register_attribute("training", c10::BoolType::get(), false);
    return module;
  }

  const std::map<std::string, std::string> types_;
  const std::shared_ptr<torch::jit::CompilationUnit> units_;
  Module root_;
  std::map<std::string, Module> modules_;
};

}  // namespace

std::string parentOf(const std::string& path) {
  const auto dot = path.rfind('.');
  return dot == std::string::npos ? "" : path.substr(0, dot);
}

std::string lastNameOf(const std::string& path) {
  const auto dot = path.rfind('.');
  return dot == std::string::npos ? path : path.substr(dot + 1);
}

Module makeModules(const CallTree& calls, const ExportedProgram& program, const ExportedArchive& archive) {
  std::map<std::string, std::string> types;
  collectTypes(calls, types);
  ModuleTree tree(types);
  for (const std::string& path : program.modulePaths) tree.at(path);
  for (const auto& [path, type] : types) tree.at(path);
  for (const ProgramValue& value : program.values) {
    if (value.stored.empty()) continue;
    const auto tensor = archive.tensors.find(value.stored);
    if (tensor == archive.tensors.end()) throwDamaged("the tensor '" + value.stored + "' is missing");
    const std::string name = lastNameOf(value.stored);
    Module module = tree.at(parentOf(value.stored));
    if (name.empty() || module.hasattr(name)) throwDamaged("there cannot be a tensor '" + value.stored + "'");
    if (value.isParameter) {
      module.register_parameter(name, tensor->second, /*is_buffer=*/false);
    } else {
      module.register_buffer(name, tensor->second);
    }
  }
  return tree.root();
}

}  // namespace gradcam
