#include "core/traced_constants.h"

namespace gradcam {
namespace {

using torch::jit::Block;
using torch::jit::Node;

class ConstantsOfTrace {
 public:
  ConstantsOfTrace(at::Device device, const std::set<at::ScalarType>& castTypes, at::ScalarType type)
      : device_(device), castTypes_(castTypes), type_(type) {}

  void adapt(Block* block) const {
    for (Node* node : block->nodes()) {
      for (Block* inner : node->blocks()) adapt(inner);
      if (node->kind() == c10::prim::Constant) {
        adaptConstant(node);
      } else {
        adaptElementTypes(node);
      }
    }
  }

 private:
  void adaptConstant(Node* node) const {
    if (!node->hasAttribute(c10::attr::value)) return;
    if (node->output()->type()->kind() == c10::TypeKind::DeviceObjType) {
      if (at::Device(node->s(c10::attr::value)).is_meta()) return;  // no place that data comes from
      node->s_(c10::attr::value, device_.str());
    } else if (node->kindOf(c10::attr::value) == torch::jit::AttributeKind::t) {
      at::Tensor tensor = node->t(c10::attr::value);
      if (castTypes_.count(tensor.scalar_type()) > 0) tensor = tensor.to(type_);
      node->t_(c10::attr::value, tensor.to(device_));
    }
  }

  // An element type is an integer like any other, and the same constant may stand for a size elsewhere: only
  // what an operation calls `dtype` is one.
  void adaptElementTypes(Node* node) const {
    const auto* schema = node->maybeSchema();
    if (castTypes_.empty() || schema == nullptr) return;
    const std::size_t count = std::min(schema->arguments().size(), node->inputs().size());
    for (std::size_t index = 0; index < count; ++index) {
      if (schema->arguments()[index].name() != "dtype") continue;
      const auto constant = torch::jit::toIValue(node->input(index));
      if (!constant || !constant->isInt()) continue;
      if (castTypes_.count(static_cast<at::ScalarType>(constant->toInt())) == 0) continue;
      torch::jit::WithInsertPoint here(node);
      node->replaceInput(index, node->owningGraph()->insertConstant(static_cast<int64_t>(type_)));
    }
  }

  const at::Device device_;
  const std::set<at::ScalarType>& castTypes_;
  const at::ScalarType type_;
};

}  // namespace

void adaptTracedConstants(const torch::jit::Module& module,
                          at::Device device,
                          const std::set<at::ScalarType>& castTypes,
                          at::ScalarType type) {
  const ConstantsOfTrace constants(device, castTypes, type);
  for (torch::jit::Function* function : module._ivalue()->compilation_unit()->get_functions()) {
    function->ensure_defined();
    if (auto* ofGraph = torch::jit::tryToGraphFunction(*function)) constants.adapt(ofGraph->graph()->block());
  }
}

}  // namespace gradcam
