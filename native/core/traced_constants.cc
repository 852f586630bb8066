#include "core/traced_constants.h"

#include "core/operator_names.h"

namespace gradcam {
namespace {

using torch::jit::Block;
using torch::jit::Node;
using torch::jit::Value;

// Where scripted code lets an operation put a tensor, and the model is elsewhere. A device that code only
// asks for (x.device, or compares) stays what it is, and so does the CPU, where a model on a GPU may want
// something.
void runOwnDevice(torch::jit::Stack& stack) {
  const at::Device own = torch::jit::pop(stack).toDevice();
  const c10::IValue& asked = stack.back();
  if (asked.isNone() || asked.toDevice().is_meta() || asked.toDevice().is_cpu()) return;
  stack.back() = own;
}

// torch.device('cuda', index), whose own operator takes its operands in the wrong order where they are not
// constants.
void runDeviceWithIndex(torch::jit::Stack& stack) {
  const auto index = static_cast<at::DeviceIndex>(torch::jit::pop(stack).toInt());
  const at::Device device(torch::jit::pop(stack).toStringRef());
  torch::jit::push(stack, at::Device(device.type(), index));
}

const c10::Symbol& ownDeviceSymbol() {
  static const torch::jit::RegisterOperators registered({
      torch::jit::Operator(operatorName("device_with_index") + "(str type, int index) -> Device",
                           runDeviceWithIndex, c10::AliasAnalysisKind::FROM_SCHEMA),
      torch::jit::Operator(operatorName("own_device") + "(Device? asked, Device own) -> Device?",
                           runOwnDevice, c10::AliasAnalysisKind::FROM_SCHEMA),
  });
  static const c10::Symbol symbol = operatorSymbol("own_device");
  return symbol;
}

class ConstantsOfTrace {
 public:
  ConstantsOfTrace(at::Device device, const std::set<at::ScalarType>& castTypes, at::ScalarType type)
      : device_(device), castTypes_(castTypes), type_(type) {}

  void adapt(Block* block) const {
    for (auto position = block->nodes().begin(); position != block->nodes().end();) {
      Node* node = *position++;  // which may be replaced
      for (Block* inner : node->blocks()) adapt(inner);
      if (node->kind() == c10::prim::Constant) {
        adaptConstant(node);
      } else {
        adaptElementTypes(node);
        adaptPlacements(node);
      }
    }
  }

 private:
  // What an operation calls `device` says where it puts a tensor.
  void adaptPlacements(Node* node) const {
    torch::jit::WithInsertPoint here(node);
    torch::jit::Graph& graph = *node->owningGraph();
    static const auto toGpu = c10::Symbol::fromQualString("aten::cuda");
    if (node->kind() == toGpu && device_.is_cpu()) {
      node->output()->replaceAllUsesWith(
          graph.insert(c10::Symbol::fromQualString("aten::cpu"), {node->input(0)}));
      node->destroy();
      return;
    }
    static const auto device = c10::Symbol::fromQualString("aten::device");
    if (node->kind() == device && node->inputs().size() == 2) {
      ownDeviceSymbol();  // registers
      Node* ours = graph.create(operatorSymbol("device_with_index"), node->inputs(), 1);
      ours->output()->setType(node->output()->type());
      node->output()->replaceAllUsesWith(graph.insertNode(ours)->output());
      node->destroy();
      return;
    }
    const auto* schema = node->maybeSchema();
    if (schema == nullptr) return;
    const std::size_t count = std::min(schema->arguments().size(), node->inputs().size());
    for (std::size_t index = 0; index < count; ++index) {
      if (schema->arguments()[index].name() != "device") continue;
      Value* asked = node->input(index);
      const bool isDevice =
          asked->type()->isSubtypeOf(*c10::OptionalType::create(c10::DeviceObjType::get())) &&
          asked->type()->kind() != c10::TypeKind::NoneType;
      if (!isDevice || asked->node()->kind() == c10::prim::device) continue;  // where another tensor is
      if (const auto constant = torch::jit::toIValue(asked)) {
        // Meta is no place that data comes from.
        if (constant->isDevice() && !constant->toDevice().is_meta())
          node->replaceInput(index, graph.insertConstant(device_));
        continue;
      }
      Node* own = graph.create(ownDeviceSymbol(), {asked, graph.insertConstant(device_)}, 1);
      own->output()->setType(asked->type());
      node->replaceInput(index, graph.insertNode(own)->output());
    }
  }

  void adaptConstant(Node* node) const {
    if (!node->hasAttribute(c10::attr::value)) return;
    if (node->kindOf(c10::attr::value) != torch::jit::AttributeKind::t) return;
    at::Tensor tensor = node->t(c10::attr::value);
    if (castTypes_.count(tensor.scalar_type()) > 0) tensor = tensor.to(type_);
    node->t_(c10::attr::value, tensor.to(device_));
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
