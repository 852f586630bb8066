#include "core/graphs/traced_constants.h"

#include <algorithm>
#include <map>

#include "core/script/graph_walk.h"
#include "core/script/operator_arguments.h"
#include "core/script/own_operators.h"

namespace gradcam {
namespace {

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
  static const c10::Symbol symbol =
      registerOperator("own_device(Device? asked, Device own) -> Device?", runOwnDevice);
  return symbol;
}

const c10::Symbol& deviceWithIndexSymbol() {
  static const c10::Symbol symbol =
      registerOperator("device_with_index(str type, int index) -> Device", runDeviceWithIndex);
  return symbol;
}

class ConstantsOfTrace {
 public:
  ConstantsOfTrace(at::Device device, const std::set<at::ScalarType>& castTypes, at::ScalarType type)
      : device_(device), castTypes_(castTypes), type_(type) {}

  // Attributes that hold tensors in lists and the like; Module::to() takes tensors only.
  void adaptAttributes(const torch::jit::Module& module) {
    const auto object = module._ivalue();
    for (std::size_t slot = 0; slot < object->type()->numAttributes(); ++slot) {
      const c10::IValue value = object->getSlot(slot);
      if (value.isModule() || value.isTensor() || !holdsTensors(value)) continue;
      object->setSlot(slot, adapted(value));
    }
  }

  void adaptNode(Node* node) {
    if (node->kind() == c10::prim::Constant) {
      adaptConstant(node);
    } else {
      adaptElementTypes(node);
      adaptPlacements(node);
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
      Node* ours = graph.create(deviceWithIndexSymbol(), node->inputs(), 1);
      ours->output()->setType(node->output()->type());
      node->output()->replaceAllUsesWith(graph.insertNode(ours)->output());
      node->destroy();
      return;
    }
    forEachArgument(node, [&](const c10::Argument& argument, std::size_t index) {
      if (argument.name() != "device") return;
      Value* asked = node->input(index);
      const bool isDevice =
          asked->type()->isSubtypeOf(*c10::OptionalType::create(c10::DeviceObjType::get())) &&
          asked->type()->kind() != c10::TypeKind::NoneType;
      if (!isDevice || asked->node()->kind() == c10::prim::device) return;  // where another tensor is
      if (const auto constant = torch::jit::toIValue(asked)) {
        // Meta is no place that data comes from.
        if (constant->isDevice() && !constant->toDevice().is_meta())
          node->replaceInput(index, graph.insertConstant(device_));
        return;
      }
      Node* own = graph.create(ownDeviceSymbol(), {asked, graph.insertConstant(device_)}, 1);
      own->output()->setType(asked->type());
      node->replaceInput(index, graph.insertNode(own)->output());
    });
  }

  static bool holdsTensors(const c10::IValue& value) {
    if (value.isTensor()) return value.toTensor().defined();
    if (value.isTuple()) {
      const auto& elements = value.toTupleRef().elements();
      return std::any_of(elements.begin(), elements.end(), holdsTensors);
    }
    if (value.isList()) {
      const auto elements = value.toListRef();
      return std::any_of(elements.begin(), elements.end(), holdsTensors);
    }
    if (!value.isGenericDict()) return false;
    const auto dict = value.toGenericDict();
    return std::any_of(dict.begin(), dict.end(),
                       [](const auto& entry) { return holdsTensors(entry.value()); });
  }

  // One copy of each tensor, however often it is referred to.
  at::Tensor adapted(const at::Tensor& tensor) {
    const auto [known, isNew] = copies_.try_emplace(tensor.unsafeGetTensorImpl(), tensor, at::Tensor());
    if (!isNew) return known->second.second;
    at::Tensor copy = castTypes_.count(tensor.scalar_type()) > 0 ? tensor.to(type_) : tensor;
    return known->second.second = copy.to(device_);
  }

  c10::IValue adapted(const c10::IValue& value) {
    if (value.isTensor()) return value.toTensor().defined() ? adapted(value.toTensor()) : value;
    if (!holdsTensors(value)) return value;
    if (value.isTuple()) {
      std::vector<c10::IValue> elements;
      for (const c10::IValue& element : value.toTupleRef().elements()) elements.push_back(adapted(element));
      const auto type = value.toTupleRef().type();
      return type->schema() ? c10::ivalue::Tuple::createNamed(std::move(elements), type)
                            : c10::ivalue::Tuple::create(std::move(elements));
    }
    if (value.isList()) {
      c10::impl::GenericList list(value.toList().elementType());
      for (const c10::IValue& element : value.toListRef()) list.push_back(adapted(element));
      return list;
    }
    const auto old = value.toGenericDict();
    c10::impl::GenericDict dict(old.keyType(), old.valueType());
    for (const auto& entry : old) dict.insert(entry.key(), adapted(entry.value()));
    return dict;
  }

  void adaptConstant(Node* node) {
    if (!node->hasAttribute(c10::attr::value)) return;
    if (node->kindOf(c10::attr::value) == torch::jit::AttributeKind::t) {
      node->t_(c10::attr::value, adapted(node->t(c10::attr::value)));
    } else if (node->kindOf(c10::attr::value) == torch::jit::AttributeKind::ts) {
      std::vector<at::Tensor> tensors;
      for (const at::Tensor& tensor : node->ts(c10::attr::value)) tensors.push_back(adapted(tensor));
      node->ts_(c10::attr::value, std::move(tensors));
    } else if (node->kindOf(c10::attr::value) == torch::jit::AttributeKind::ival) {
      node->ival_(c10::attr::value, adapted(node->ival(c10::attr::value)));
    }
  }

  // An element type is an integer like any other, and the same constant may stand for a size elsewhere: only
  // what an operation calls `dtype` is one.
  void adaptElementTypes(Node* node) const {
    if (castTypes_.empty()) return;
    forEachArgument(node, [&](const c10::Argument& argument, std::size_t index) {
      if (argument.name() != "dtype") return;
      const auto constant = torch::jit::toIValue(node->input(index));
      if (!constant || !constant->isInt()) return;
      if (castTypes_.count(static_cast<at::ScalarType>(constant->toInt())) == 0) return;
      torch::jit::WithInsertPoint here(node);
      node->replaceInput(index, node->owningGraph()->insertConstant(static_cast<int64_t>(type_)));
    });
  }

  const at::Device device_;
  const std::set<at::ScalarType>& castTypes_;
  const at::ScalarType type_;
  // By tensor: itself, so that its place is not another's, and its copy.
  std::map<const c10::TensorImpl*, std::pair<at::Tensor, at::Tensor>> copies_;
};

}  // namespace

void adaptTracedConstants(const torch::jit::Module& module,
                          at::Device device,
                          const std::set<at::ScalarType>& castTypes,
                          at::ScalarType type) {
  ConstantsOfTrace constants(device, castTypes, type);
  forEachGraph(module, [&](torch::jit::Graph& graph) {
    forEachNode(graph.block(), [&](Node* node) { constants.adaptNode(node); });
  });
  if (castTypes.empty() && device.is_cpu()) return;
  for (const torch::jit::Module& each : module.modules()) constants.adaptAttributes(each);
}

}  // namespace gradcam
