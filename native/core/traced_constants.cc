#include "core/traced_constants.h"

#include <algorithm>
#include <map>

#include "core/graph_walk.h"

namespace gradcam {
namespace {

using torch::jit::Block;
using torch::jit::Node;

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

  void adapt(Block* block) {
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
    if (node->output()->type()->kind() == c10::TypeKind::DeviceObjType) {
      if (at::Device(node->s(c10::attr::value)).is_meta()) return;  // no place that data comes from
      node->s_(c10::attr::value, device_.str());
    } else if (node->kindOf(c10::attr::value) == torch::jit::AttributeKind::t) {
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
  // By tensor: itself, so that its place is not another's, and its copy.
  std::map<const c10::TensorImpl*, std::pair<at::Tensor, at::Tensor>> copies_;
};

template <typename Visit>
void forEachGraph(const torch::jit::Module& module, const Visit& visit) {
  for (torch::jit::Function* function : module._ivalue()->compilation_unit()->get_functions()) {
    function->ensure_defined();
    if (auto* ofGraph = torch::jit::tryToGraphFunction(*function)) visit(*ofGraph->graph());
  }
}

}  // namespace

void adaptTracedConstants(const torch::jit::Module& module,
                          at::Device device,
                          const std::set<at::ScalarType>& castTypes,
                          at::ScalarType type) {
  ConstantsOfTrace constants(device, castTypes, type);
  forEachGraph(module, [&](torch::jit::Graph& graph) { constants.adapt(graph.block()); });
  if (castTypes.empty() && device.is_cpu()) return;
  for (const torch::jit::Module& each : module.modules()) constants.adaptAttributes(each);
}

std::optional<at::ScalarType> floatingTypeOfConstants(const torch::jit::Module& module) {
  std::map<at::ScalarType, int64_t> elements;
  forEachGraph(module, [&](torch::jit::Graph& graph) {
    forEachNode(graph.block(), [&](const Node* node) {
      if (node->kind() != c10::prim::Constant || !node->hasAttribute(c10::attr::value)) return;
      if (node->kindOf(c10::attr::value) != torch::jit::AttributeKind::t) return;
      const at::Tensor& tensor = node->t(c10::attr::value);
      if (at::isFloatingType(tensor.scalar_type())) elements[tensor.scalar_type()] += tensor.numel();
    });
  });
  const auto most = std::max_element(elements.begin(), elements.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == elements.end() ? std::nullopt : std::optional(most->first);
}

}  // namespace gradcam
