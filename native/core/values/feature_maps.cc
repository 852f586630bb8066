#include "core/values/feature_maps.h"

#include <algorithm>

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

std::vector<at::Tensor> mapsOf(const c10::IValue& value) {
  std::vector<at::Tensor> maps;
  const auto add = [&](const c10::IValue& each) {
    if (each.isTensor()) maps.push_back(each.toTensor());
    return each.isTensor();
  };
  bool onlyTensors = true;
  if (value.isGenericDict()) {
    for (const auto& entry : value.toGenericDict()) onlyTensors = add(entry.value()) && onlyTensors;
  } else if (value.isList()) {
    for (const c10::IValue& element : value.toListRef()) onlyTensors = add(element) && onlyTensors;
  } else if (value.isTuple()) {
    for (const c10::IValue& element : value.toTupleRef().elements())
      onlyTensors = add(element) && onlyTensors;
  }
  return onlyTensors ? maps : std::vector<at::Tensor>{};
}

c10::IValue withMaps(const c10::IValue& value, const std::vector<at::Tensor>& maps) {
  if (value.isGenericDict()) {
    const auto old = value.toGenericDict();
    c10::impl::GenericDict dict(old.keyType(), old.valueType());
    std::size_t index = 0;
    for (const auto& entry : old) dict.insert(entry.key(), maps.at(index++));
    return dict;
  }
  if (value.isList()) {
    c10::List<at::Tensor> list;
    for (const at::Tensor& map : maps) list.push_back(map);
    return list;
  }
  std::vector<c10::IValue> elements(maps.begin(), maps.end());  // of its type, for the names of its fields
  return c10::ivalue::Tuple::createNamed(std::move(elements), value.toTupleRef().type());
}

}  // namespace gradcam
