#include "core/values/feature_maps.h"

#include <algorithm>

#include "core/values/output_tree.h"
#include "core/values/tensor_types.h"

namespace gradcam {

bool isOfMaps(const c10::TypePtr& type) {
  if (const auto dict = type->cast<c10::DictType>()) return isTensorType(dict->getValueType());
  if (const auto list = type->cast<c10::ListType>()) return isTensorType(list->getElementType());
  if (const auto tuple = type->cast<c10::TupleType>()) {
    const auto elements = tuple->elements();
    return !elements.empty() && std::all_of(elements.begin(), elements.end(), isTensorType);
  }
  return false;
}

std::vector<at::Tensor> mapsOf(const c10::IValue& output, const OutputSelector& selector) {
  if (output.isTensor() || !selector.empty()) {
    const auto chosen = valueAt(output, output.isTensor() ? OutputSelector() : selector);
    if (!chosen || !isOneTensor(*chosen)) return {};
    return {chosen->toTensor()};
  }
  std::vector<at::Tensor> maps;
  bool onlyTensors = true;
  const auto add = [&](const c10::IValue& each) {
    if (isOneTensor(each)) maps.push_back(each.toTensor());
    onlyTensors = onlyTensors && isOneTensor(each);
  };
  if (output.isGenericDict()) {
    for (const auto& entry : output.toGenericDict()) add(entry.value());
  } else if (output.isList()) {
    for (const c10::IValue& element : output.toListRef()) add(element);
  } else if (output.isTuple()) {
    for (const c10::IValue& element : output.toTupleRef().elements()) add(element);
  }
  return onlyTensors ? maps : std::vector<at::Tensor>{};
}

c10::IValue withMaps(const c10::IValue& output,
                     const OutputSelector& selector,
                     const std::vector<at::Tensor>& maps) {
  if (output.isTensor()) return maps.at(0);
  if (!selector.empty()) return withValueAt(output, selector, maps.at(0));
  if (output.isGenericDict()) {
    const auto old = output.toGenericDict();
    c10::impl::GenericDict dict(old.keyType(), old.valueType());
    std::size_t index = 0;
    for (const auto& entry : old) dict.insert(entry.key(), maps.at(index++));
    return dict;
  }
  if (output.isList()) {
    c10::List<at::Tensor> list;
    for (const at::Tensor& map : maps) list.push_back(map);
    return list;
  }
  std::vector<c10::IValue> elements(maps.begin(), maps.end());  // of its type, for the names of its fields
  return c10::ivalue::Tuple::createNamed(std::move(elements), output.toTupleRef().type());
}

}  // namespace gradcam
