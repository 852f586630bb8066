#include "core/cam/repeated_rows.h"

#include <algorithm>
#include <limits>

#include "api/failure.h"
#include "core/plan/plan_run.h"

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

// [parts x rest] -> [parts x images x rest]: of each part the rows of all images.
at::Tensor repeatWithin(const at::Tensor& one, int64_t parts, int64_t images) {
  std::vector<int64_t> sizes = one.sizes().vec();
  sizes[0] = one.size(0) / parts;
  sizes.insert(sizes.begin(), {parts, 1});
  std::vector<int64_t> repeated = sizes;
  repeated[1] = images;
  return one.reshape(sizes).expand(repeated).flatten(0, 2);
}

// Whether an image's rows lie together (windows), or each apart from the others (cat([x, y])), or in between:
// as the rows of two equal images do.
at::Tensor repeatRows(const at::Tensor& one, const at::Tensor& two, int64_t images) {
  int64_t nearest = 1;
  double least = std::numeric_limits<double>::infinity();
  for (int64_t parts = 1; parts <= one.size(0) && least > 0; ++parts) {
    if (one.size(0) % parts != 0) continue;
    const at::Tensor difference = repeatWithin(one, parts, 2).to(at::kDouble) - two.to(at::kDouble);
    const double largest = at::nan_to_num(difference).abs().max().item<double>();
    if (!(largest < least)) continue;
    least = largest;
    nearest = parts;
  }
  return repeatWithin(one, nearest, images);
}

void checkLengths(std::size_t one, std::size_t two) {
  if (one == two) return;
  throw Failure("ERR_FORWARD", "What the model hands on in front of the layer holds " + std::to_string(one) +
                                   " parts for one image and " + std::to_string(two) +
                                   " for two, so that it cannot be told which belong to an image.");
}

// `one` is what there is for one image and `two` for two: what doubles belongs to the image.
c10::IValue expand(const c10::IValue& one, const c10::IValue& two, int64_t rows, bool tailWrites) {
  if (one.isTensor() && two.isTensor()) {
    const at::Tensor &first = one.toTensor(), &second = two.toTensor();
    const bool doubles =
        first.dim() > 0 && first.dim() == second.dim() && first.size(0) * 2 == second.size(0);
    if (!doubles) return tailWrites ? first.clone() : first;
    if (first.size(0) <= 1) return expandTensor(first, rows, tailWrites);
    const at::Tensor repeated =
        first.numel() > 0 ? repeatRows(first, second, rows) : repeatWithin(first, 1, rows);
    return tailWrites ? repeated.clone(at::MemoryFormat::Contiguous) : repeated;
  }
  if (one.isInt() && two.isInt() && one.toInt() * 2 == two.toInt()) return one.toInt() * rows;
  if (one.isList()) {
    const auto first = one.toList(), second = two.toList();
    c10::impl::GenericList list(first.elementType());
    const bool doubles = first.size() * 2 == second.size();
    if (!doubles) checkLengths(first.size(), second.size());
    for (int64_t row = 0; row < (doubles ? rows : 1); ++row) {
      for (std::size_t index = 0; index < first.size(); ++index)
        list.push_back(expand(first.get(index), second.get(index), doubles ? 1 : rows, tailWrites));
    }
    return list;
  }
  if (one.isTuple()) {
    const auto &first = one.toTupleRef().elements(), &second = two.toTupleRef().elements();
    checkLengths(first.size(), second.size());
    std::vector<c10::IValue> elements;
    for (std::size_t index = 0; index < first.size(); ++index)
      elements.push_back(expand(first[index], second[index], rows, tailWrites));
    return c10::ivalue::Tuple::create(std::move(elements));
  }
  if (one.isGenericDict()) {
    const auto first = one.toGenericDict(), second = two.toGenericDict();
    c10::impl::GenericDict dict(first.keyType(), first.valueType());
    for (const auto& entry : first) {
      checkLengths(1, second.contains(entry.key()) ? 1 : 0);
      dict.insert(entry.key(), expand(entry.value(), second.at(entry.key()), rows, tailWrites));
    }
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

RepeatedRows::RepeatedRows(const Plan& plan, const ImageCopies& copies, int64_t image)
    : plan_(plan), copies_(copies), image_(image), one_(runPrefix(plan, copies.of(image, 1))) {
  const auto& shared = copies.shared();
  // A tensor that is an argument, or another input, may be of one row and yet not the image's.
  hangsOnRows_ = copies.haveTensorArguments() ||
                 std::find(shared.begin(), shared.end(), true) != shared.end() ||
                 std::any_of(one_.begin(), one_.end(), hangsOnRows);
}

torch::jit::Stack RepeatedRows::of(int64_t rows) const {
  const bool tailWrites = plan_.tailWrites();
  if (rows > 1 && hangsOnRows_ && !two_) two_ = runPrefix(plan_, copies_.of(image_, 2));
  torch::jit::Stack stack;
  for (std::size_t index = 0; index < one_.size(); ++index) {
    const c10::IValue& value = one_[index];
    if (rows == 1) {
      stack.push_back(expand(value, value, 1, tailWrites));
    } else if (hangsOnRows_) {
      stack.push_back(expand(value, (*two_)[index], rows, tailWrites));
    } else {
      stack.push_back(value.isTensor() ? c10::IValue(expandTensor(value.toTensor(), rows, tailWrites))
                                       : value);
    }
  }
  return stack;
}

}  // namespace gradcam
