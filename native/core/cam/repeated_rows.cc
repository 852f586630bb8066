#include "core/cam/repeated_rows.h"

#include <algorithm>

namespace gradcam {
namespace {

bool isModule(const c10::IValue& value) {
  return value.isObject() && value.toObjectRef().type()->is_module();
}

// Lists of numbers are sizes and the like, which the tail computes for itself where they hang on the rows.
bool isNested(const c10::IValue& value) {
  return (value.isList() && !value.isIntList() && !value.isDoubleList() && !value.isBoolList()) ||
         value.isTuple() || value.isGenericDict() || (value.isObject() && !isModule(value));
}

// Whether it takes a second run to tell how a value grows with the rows: a number may be a size, and a tensor
// whose first size is not 1 may hold several rows for each image.
bool hangsOnRows(const c10::IValue& value) {
  if (value.isTensor()) return value.toTensor().dim() > 0 && value.toTensor().size(0) != 1;
  return value.isInt() || value.isIntList() || isNested(value);
}

at::Tensor expandTensor(const at::Tensor& one, int64_t rows, bool tailWrites) {
  if (one.dim() == 0 || one.size(0) != 1) return tailWrites ? one.clone() : one;
  std::vector<int64_t> sizes = one.sizes().vec();
  sizes[0] = rows;
  const at::Tensor copies = one.expand(sizes);
  return tailWrites ? copies.clone(at::MemoryFormat::Contiguous) : copies;
}

// `one` is what there is for one image and `two` for two: what doubles belongs to the image.
c10::IValue expand(const c10::IValue& one, const c10::IValue& two, int64_t rows, bool tailWrites) {
  if (one.isTensor() && two.isTensor()) {
    const at::Tensor &first = one.toTensor(), &second = two.toTensor();
    const bool doubles =
        first.dim() > 0 && first.dim() == second.dim() && first.size(0) * 2 == second.size(0);
    if (!doubles) return tailWrites ? first.clone() : first;
    std::vector<int64_t> repeats(static_cast<std::size_t>(first.dim()), 1);
    repeats[0] = rows;
    return first.size(0) == 1 ? expandTensor(first, rows, tailWrites) : first.repeat(repeats);
  }
  if (one.isInt() && two.isInt() && one.toInt() * 2 == two.toInt()) return one.toInt() * rows;
  if (one.isList()) {
    const auto first = one.toList(), second = two.toList();
    c10::impl::GenericList list(first.elementType());
    const bool doubles = first.size() * 2 == second.size();
    for (int64_t row = 0; row < (doubles ? rows : 1); ++row) {
      for (std::size_t index = 0; index < first.size(); ++index)
        list.push_back(expand(first.get(index), second.get(index), doubles ? 1 : rows, tailWrites));
    }
    return list;
  }
  if (one.isTuple()) {
    const auto &first = one.toTupleRef().elements(), &second = two.toTupleRef().elements();
    std::vector<c10::IValue> elements;
    for (std::size_t index = 0; index < first.size(); ++index)
      elements.push_back(expand(first[index], second[index], rows, tailWrites));
    return c10::ivalue::Tuple::create(std::move(elements));
  }
  if (one.isGenericDict()) {
    const auto first = one.toGenericDict(), second = two.toGenericDict();
    c10::impl::GenericDict dict(first.keyType(), first.valueType());
    for (const auto& entry : first)
      dict.insert(entry.key(), expand(entry.value(), second.at(entry.key()), rows, tailWrites));
    return dict;
  }
  if (one.isObject() && !isModule(one)) {
    const auto first = one.toObject(), second = two.toObject();
    auto object = c10::ivalue::Object::create(c10::StrongTypePtr(first->compilation_unit(), first->type()),
                                              first->slots().size());
    for (std::size_t slot = 0; slot < first->slots().size(); ++slot)
      object->setSlot(slot, expand(first->getSlot(slot), second->getSlot(slot), rows, tailWrites));
    return object;
  }
  return one;
}

}  // namespace

RepeatedRows::RepeatedRows(const Plan& plan, const std::vector<at::Tensor>& inputs)
    : tailWrites_(plan.tailWrites()) {
  one_ = plan.runPrefix(std::vector<c10::IValue>(inputs.begin(), inputs.end()));
  if (std::none_of(one_.begin(), one_.end(), hangsOnRows)) return;
  std::vector<c10::IValue> copies;
  for (const at::Tensor& input : inputs) copies.emplace_back(at::cat({input, input}));
  two_ = plan.runPrefix(copies);
}

torch::jit::Stack RepeatedRows::of(int64_t rows) const {
  torch::jit::Stack stack;
  for (std::size_t index = 0; index < one_.size(); ++index) {
    const c10::IValue& value = one_[index];
    if (two_) {
      stack.push_back(expand(value, (*two_)[index], rows, tailWrites_));
    } else {
      stack.push_back(value.isTensor() ? c10::IValue(expandTensor(value.toTensor(), rows, tailWrites_))
                                       : value);
    }
  }
  return stack;
}

}  // namespace gradcam
