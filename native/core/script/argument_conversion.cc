#include "core/script/argument_conversion.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

#include "api/failure.h"

namespace gradcam {
namespace {

constexpr double kLargestWhole = 9007199254740991;  // 2^53 - 1: above, numbers of JavaScript skip integers

// What does not fit, from the inside of lists and dictionaries outwards.
struct Mismatch {
  std::string where, expected, found;
};

std::string describe(const ArgumentTree& argument) {
  const auto& value = argument.value;
  std::ostringstream text;
  text.precision(15);
  if (const auto* truth = std::get_if<bool>(&value)) {
    text << (*truth ? "true" : "false") << " (boolean)";
  } else if (const auto* number = std::get_if<double>(&value)) {
    const bool large = std::isfinite(*number) && std::abs(*number) > kLargestWhole;
    text << *number << (large ? " (number; integers as large as that are given as bigints)" : " (number)");
  } else if (const auto* whole = std::get_if<int64_t>(&value)) {
    text << *whole << " (bigint)";
  } else if (const auto* string = std::get_if<std::string>(&value)) {
    text << "'" << (string->size() > 60 ? string->substr(0, 57) + "..." : *string) << "' (string)";
  } else if (const auto* list = std::get_if<ArgumentTree::List>(&value)) {
    text << "a list of " << list->size();
  } else if (std::holds_alternative<ArgumentTree::Dict>(value)) {
    text << "an object";
  } else {
    text << "null";
  }
  return text.str();
}

std::optional<int64_t> wholeNumber(const ArgumentTree& argument) {
  if (const auto* whole = std::get_if<int64_t>(&argument.value)) return *whole;
  const auto* number = std::get_if<double>(&argument.value);
  if (number == nullptr || std::trunc(*number) != *number || std::abs(*number) > kLargestWhole)
    return std::nullopt;
  return static_cast<int64_t>(*number);
}

std::optional<double> anyNumber(const ArgumentTree& argument) {
  if (const auto* number = std::get_if<double>(&argument.value)) return *number;
  if (const auto* whole = std::get_if<int64_t>(&argument.value)) return static_cast<double>(*whole);
  return std::nullopt;
}

// Numbers in nested lists of equal lengths, as torch.tensor() takes them.
class NumberReader {
 public:
  explicit NumberReader(const ArgumentTree& argument, const std::string& where) { read(argument, where, 0); }

  at::Tensor tensor(const ArgumentTensors& how) const {
    const at::ScalarType floating = how.floatingType.value_or(at::kFloat);
    at::Tensor flat;
    if (onlyWhole_ && !whole_.empty()) {
      flat = at::tensor(whole_, at::kLong).to(truths_ ? at::kBool : at::kLong);
    } else {
      flat = at::tensor(numbers_, at::kDouble).to(floating);
    }
    return flat.view(shape_).to(how.device);
  }

 private:
  void read(const ArgumentTree& argument, const std::string& where, std::size_t depth) {
    if (const auto* list = std::get_if<ArgumentTree::List>(&argument.value)) {
      const auto length = static_cast<int64_t>(list->size());
      if (depth == shape_.size() && !sawNumber_) shape_.push_back(length);
      if (depth >= shape_.size() || shape_[depth] != length)
        throw Mismatch{where, "a list as long as its neighbours", describe(argument)};
      for (std::size_t index = 0; index < list->size(); ++index)
        read((*list)[index], where + "[" + std::to_string(index) + "]", depth + 1);
      return;
    }
    const auto* truth = std::get_if<bool>(&argument.value);
    const auto number = truth ? std::optional<double>(*truth ? 1 : 0) : anyNumber(argument);
    if (!number || depth != shape_.size()) throw Mismatch{where, "a tensor's numbers", describe(argument)};
    if (sawNumber_ && truths_ != (truth != nullptr))
      throw Mismatch{where, truths_ ? "true or false, as its neighbours" : "a number, as its neighbours",
                     describe(argument)};
    truths_ = truth != nullptr;
    sawNumber_ = true;
    const auto whole = truth ? std::optional<int64_t>(*truth ? 1 : 0) : wholeNumber(argument);
    onlyWhole_ = onlyWhole_ && whole.has_value();
    whole_.push_back(whole.value_or(0));
    numbers_.push_back(*number);
  }

  std::vector<int64_t> shape_;
  std::vector<int64_t> whole_;
  std::vector<double> numbers_;
  bool onlyWhole_ = true, truths_ = false, sawNumber_ = false;
};

c10::IValue convert(const ArgumentTree& argument,
                    const c10::TypePtr& type,
                    const std::string& where,
                    const ArgumentTensors& tensors);

c10::IValue convertList(const ArgumentTree& argument,
                        const c10::TypePtr& type,
                        const std::string& where,
                        const ArgumentTensors& tensors) {
  const auto* given = std::get_if<ArgumentTree::List>(&argument.value);
  const auto element = [&](std::size_t index, const c10::TypePtr& elementType) {
    return convert((*given)[index], elementType, where + "[" + std::to_string(index) + "]", tensors);
  };
  if (const auto tuple = type->cast<c10::TupleType>()) {
    const auto types = tuple->elements();
    if (given == nullptr || given->size() != types.size())
      throw Mismatch{where, type->annotation_str() + ", a list of " + std::to_string(types.size()),
                     describe(argument)};
    std::vector<c10::IValue> elements;
    for (std::size_t index = 0; index < types.size(); ++index)
      elements.push_back(element(index, types[index]));
    return tuple->schema() ? c10::ivalue::Tuple::createNamed(std::move(elements), tuple)
                           : c10::ivalue::Tuple::create(std::move(elements));
  }
  if (given == nullptr) throw Mismatch{where, type->annotation_str(), describe(argument)};
  const c10::TypePtr elementType = type->expectRef<c10::ListType>().getElementType();
  c10::impl::GenericList list(elementType);
  for (std::size_t index = 0; index < given->size(); ++index) list.push_back(element(index, elementType));
  return list;
}

c10::IValue convertKey(const std::string& key, const c10::TypePtr& type, const std::string& where) {
  if (type->kind() == c10::TypeKind::StringType) return key;
  int64_t whole = 0;
  const auto [end, problem] = std::from_chars(key.data(), key.data() + key.size(), whole);
  const bool read = problem == std::errc() && end == key.data() + key.size() && std::to_string(whole) == key;
  if (type->kind() == c10::TypeKind::IntType && read) return whole;
  throw Mismatch{where, "keys of type " + type->annotation_str(), "'" + key + "'"};
}

c10::IValue convertDict(const ArgumentTree& argument,
                        const c10::DictType& type,
                        const std::string& where,
                        const ArgumentTensors& tensors) {
  const auto* given = std::get_if<ArgumentTree::Dict>(&argument.value);
  if (given == nullptr) throw Mismatch{where, type.annotation_str(), describe(argument)};
  c10::impl::GenericDict dict(type.getKeyType(), type.getValueType());
  for (const auto& [key, value] : *given) {
    dict.insert(convertKey(key, type.getKeyType(), where),
                convert(value, type.getValueType(), where + "." + key, tensors));
  }
  return dict;
}

// The first of the types that takes the value: whole numbers are int before they are float.
c10::IValue convertUnion(const ArgumentTree& argument,
                         const c10::UnionType& type,
                         const std::string& where,
                         const ArgumentTensors& tensors) {
  std::vector<c10::TypePtr> types = type.containedTypes().vec();
  std::stable_partition(types.begin(), types.end(),
                        [](const c10::TypePtr& each) { return each->kind() == c10::TypeKind::IntType; });
  for (const c10::TypePtr& each : types) {
    try {
      return convert(argument, each, where, tensors);
    } catch (const Mismatch&) {
    }
  }
  throw Mismatch{where, type.annotation_str(), describe(argument)};
}

c10::IValue convert(const ArgumentTree& argument,
                    const c10::TypePtr& type,
                    const std::string& where,
                    const ArgumentTensors& tensors) {
  const auto& value = argument.value;
  switch (type->kind()) {
    case c10::TypeKind::OptionalType:
      if (std::holds_alternative<std::monostate>(value)) return {};
      return convert(argument, type->expectRef<c10::OptionalType>().getElementType(), where, tensors);
    case c10::TypeKind::NoneType:
      if (std::holds_alternative<std::monostate>(value)) return {};
      break;
    case c10::TypeKind::BoolType:
      if (const auto* truth = std::get_if<bool>(&value)) return *truth;
      break;
    case c10::TypeKind::IntType:
      if (const auto whole = wholeNumber(argument)) return *whole;
      break;
    case c10::TypeKind::FloatType:
      if (const auto number = anyNumber(argument)) return *number;
      break;
    case c10::TypeKind::NumberType:
      if (const auto whole = wholeNumber(argument)) return *whole;
      if (const auto number = anyNumber(argument)) return *number;
      break;
    case c10::TypeKind::StringType:
      if (const auto* text = std::get_if<std::string>(&value)) return *text;
      break;
    case c10::TypeKind::TensorType:
      return NumberReader(argument, where).tensor(tensors);
    case c10::TypeKind::ListType:
    case c10::TypeKind::TupleType:
      return convertList(argument, type, where, tensors);
    case c10::TypeKind::DictType:
      return convertDict(argument, type->expectRef<c10::DictType>(), where, tensors);
    case c10::TypeKind::UnionType:
      return convertUnion(argument, type->expectRef<c10::UnionType>(), where, tensors);
    default:
      throw Mismatch{where, type->annotation_str() + " (which cannot be given from here)",
                     describe(argument)};
  }
  throw Mismatch{where, type->annotation_str(), describe(argument)};
}

// As the model's source would have it; "..." for tensors and what else has no source.
std::string sourceOf(const c10::IValue& value) {
  try {
    std::ostringstream text;
    value.repr(text, [](std::ostream& stream, const c10::IValue& inner) {
      if (inner.isTensor()) stream << "...";
      return inner.isTensor();
    });
    return text.str();
  } catch (const std::exception&) {
    return "...";
  }
}

const ArgumentTree* find(const Arguments& arguments, const std::string& name) {
  const auto found = std::find_if(arguments.begin(), arguments.end(),
                                  [&](const auto& argument) { return argument.first == name; });
  return found == arguments.end() ? nullptr : &found->second;
}

std::vector<std::string> namesOf(const c10::FunctionSchema& schema) {
  std::vector<std::string> names;
  for (std::size_t index = 1; index < schema.arguments().size(); ++index)
    names.push_back(schema.arguments()[index].name());
  return names;
}

}  // namespace

std::string signatureOf(const c10::FunctionSchema& schema) {
  std::ostringstream text;
  text << schema.name() << "(";
  for (std::size_t index = 1; index < schema.arguments().size(); ++index) {  // the first is the module
    const c10::Argument& parameter = schema.arguments()[index];
    text << (index > 1 ? ", " : "") << parameter.name() << ": " << parameter.type()->annotation_str();
    if (const auto& standard = parameter.default_value()) text << " = " << sourceOf(*standard);
  }
  text << ")";
  return text.str();
}

bool takesTensor(const c10::Argument& parameter) {
  const c10::TypePtr& type = parameter.type();
  return type->kind() == c10::TypeKind::TensorType || c10::TensorType::get()->isSubtypeOf(*type);
}

torch::jit::Kwargs convertArguments(const c10::FunctionSchema& schema,
                                    const Arguments& given,
                                    const Arguments& defaults,
                                    const ArgumentTensors& tensors) {
  const auto names = namesOf(schema);
  for (const auto& [name, value] : given) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    throw Failure("ERR_MODEL_ARGUMENTS",
                  "There is no parameter '" + name + "' of the model's " + signatureOf(schema) + ".")
        .withAvailable(names);
  }
  torch::jit::Kwargs converted;
  for (std::size_t index = 1; index < schema.arguments().size(); ++index) {
    const c10::Argument& parameter = schema.arguments()[index];
    const ArgumentTree* argument = find(given, parameter.name());
    if (argument != nullptr && index == 1) {
      throw Failure("ERR_MODEL_ARGUMENTS", "'" + parameter.name() + "' is the input itself, of the model's " +
                                               signatureOf(schema) + ", and no argument beside it.");
    }
    if (argument == nullptr && index > 1) argument = find(defaults, parameter.name());
    if (argument == nullptr) continue;
    try {
      converted[parameter.name()] = convert(*argument, parameter.type(), parameter.name(), tensors);
    } catch (const Mismatch& mismatch) {
      throw Failure("ERR_MODEL_ARGUMENTS", "Expected " + mismatch.expected + " for the argument '" +
                                               mismatch.where + "', but received " + mismatch.found +
                                               ". The model has " + signatureOf(schema) + ".")
          .withAvailable(names);
    }
  }
  return converted;
}

}  // namespace gradcam
