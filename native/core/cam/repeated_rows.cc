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

// What there is for one image and for two, as it would be for `rows` images: what doubles belongs to the
// image.
class Repetition {
 public:
  Repetition(int64_t rows, bool tailWrites) : rows_(rows), tailWrites_(tailWrites) {}

  c10::IValue of(const c10::IValue& one, const c10::IValue& two) const {
    if (one.isTensor() && two.isTensor()) return ofTensors(one.toTensor(), two.toTensor());
    if (one.isInt() && two.isInt() && one.toInt() * 2 == two.toInt()) return one.toInt() * rows_;
    if (one.isList()) return ofLists(one.toList(), two.toList());
    if (one.isTuple()) return ofTuples(one.toTupleRef(), two.toTupleRef());
    if (one.isGenericDict()) return ofDicts(one.toGenericDict(), two.toGenericDict());
    if (one.isObject() && !isModule(one)) return ofObjects(*one.toObject(), *two.toObject());
    return one;
  }

 private:
  at::Tensor ofTensors(const at::Tensor& one, const at::Tensor& two) const {
    const bool doubles = one.dim() > 0 && one.dim() == two.dim() && one.size(0) * 2 == two.size(0);
    if (!doubles) return tailWrites_ ? one.clone() : one;
    if (one.size(0) <= 1) return expandTensor(one, rows_, tailWrites_);
    const at::Tensor repeated = one.numel() > 0 ? repeatRows(one, two, rows_) : repeatWithin(one, 1, rows_);
    return tailWrites_ ? repeated.clone(at::MemoryFormat::Contiguous) : repeated;
  }

  // A list that doubles holds elements for each image, another one elements that hold rows.
  c10::IValue ofLists(const c10::impl::GenericList& one, const c10::impl::GenericList& two) const {
    const bool doubles = one.size() * 2 == two.size();
    if (!doubles) checkLengths(one.size(), two.size());
    const Repetition ofElement(doubles ? 1 : rows_, tailWrites_);
    c10::impl::GenericList list(one.elementType());
    for (int64_t row = 0; row < (doubles ? rows_ : 1); ++row) {
      for (std::size_t index = 0; index < one.size(); ++index)
        list.push_back(ofElement.of(one.get(index), two.get(index)));
    }
    return list;
  }

  c10::IValue ofTuples(const c10::ivalue::Tuple& one, const c10::ivalue::Tuple& two) const {
    checkLengths(one.size(), two.size());
    std::vector<c10::IValue> elements;
    for (std::size_t index = 0; index < one.size(); ++index)
      elements.push_back(of(one.elements()[index], two.elements()[index]));
    return c10::ivalue::Tuple::create(std::move(elements));
  }

  c10::IValue ofDicts(const c10::impl::GenericDict& one, const c10::impl::GenericDict& two) const {
    c10::impl::GenericDict dict(one.keyType(), one.valueType());
    for (const auto& entry : one) {
      checkLengths(1, two.contains(entry.key()) ? 1 : 0);
      dict.insert(entry.key(), of(entry.value(), two.at(entry.key())));
    }
    return dict;
  }

  c10::IValue ofObjects(c10::ivalue::Object& one, const c10::ivalue::Object& two) const {
    auto object = c10::ivalue::Object::create(c10::StrongTypePtr(one.compilation_unit(), one.type()),
                                              one.slots().size());
    for (std::size_t slot = 0; slot < one.slots().size(); ++slot)
      object->setSlot(slot, of(one.getSlot(slot), two.getSlot(slot)));
    return object;
  }

  int64_t rows_;
  bool tailWrites_;
};

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
  const Repetition repetition(rows, tailWrites);
  torch::jit::Stack stack;
  for (std::size_t index = 0; index < one_.size(); ++index) {
    const c10::IValue& value = one_[index];
    if (rows == 1) {
      stack.push_back(repetition.of(value, value));
    } else if (hangsOnRows_) {
      stack.push_back(repetition.of(value, (*two_)[index]));
    } else {
      stack.push_back(value.isTensor() ? c10::IValue(expandTensor(value.toTensor(), rows, tailWrites))
                                       : value);
    }
  }
  return stack;
}

}  // namespace gradcam
