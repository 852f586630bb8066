#include "core/exported/operation_arguments.h"

#include "api/failure.h"
#include "core/exported/exported_archive.h"

namespace gradcam {
namespace {

using torch::jit::Value;

at::ScalarType scalarTypeIn(const Json& value) {
  const int64_t number = integerOf(value, "a type of elements");
  const auto type = scalarTypeOfSerde(number);
  if (!type)
    throw Failure("ERR_UNSUPPORTED", "The program uses a type of elements that is not read (number " +
                                         std::to_string(number) + " of torch.export's schema).");
  return *type;
}

at::MemoryFormat memoryFormatIn(const Json& value) {
  switch (integerOf(value, "a memory format")) {
    case 1:
      return at::MemoryFormat::Contiguous;
    case 2:
      return at::MemoryFormat::ChannelsLast;
    case 3:
      return at::MemoryFormat::ChannelsLast3d;
    case 4:
      return at::MemoryFormat::Preserve;
    default:
      throwDamaged("a memory format is none");
  }
}

at::Layout layoutIn(const Json& value) {
  if (integerOf(value, "a layout") != 7)
    throw Failure("ERR_UNSUPPORTED", "The program makes sparse tensors, which are not read.");
  return at::kStrided;
}

// A program exported on a GPU says so wherever it makes a tensor; what is said of devices is put right when
// the model is moved to its own.
at::Device deviceIn(const Json& value) {
  const std::string type = textOf(member(value, "type"), "a device");
  const Json* index = findMember(value, "index");
  try {
    if (index == nullptr || index->is_null()) return at::Device(type);
    return at::Device(type + ":" + std::to_string(integerOf(*index, "a device")));
  } catch (const c10::Error&) {
    throwDamaged("there is no kind of device that is called " + type);
  }
}

// The type behind `T?` and, of a list, its elements'.
c10::TypePtr withoutOptional(const c10::TypePtr& type) {
  if (!type) return type;
  const auto optional = type->cast<c10::OptionalType>();
  return optional ? optional->getElementType() : type;
}

bool isListOf(const c10::TypePtr& type, const c10::TypePtr& elements) {
  const auto list = type ? type->cast<c10::ListType>() : nullptr;
  return list && *list->getElementType() == *elements;
}

}  // namespace

bool isNumber(const std::string& kind) {
  return kind == "as_int" || kind == "as_float" || kind == "as_bool" || kind == "as_complex" ||
         kind == "as_sym_int" || kind == "as_sym_float" || kind == "as_sym_bool";
}

template <typename Convert>
Value* OperationArguments::constantList(const Json& values, Convert convert) const {
  using Element = decltype(convert(values));
  c10::List<Element> list;
  for (const Json& value : arrayOf(values, "a list")) list.push_back(convert(value));
  return graph_.insertConstant(list);
}

Value* OperationArguments::symbolOf(const Json& symbol, const std::string& constant) const {
  if (const Json* name = findMember(symbol, "as_name")) return valueNamed_(textOf(*name, "a name"));
  const Json& value = member(symbol, constant.c_str());
  if (constant == "as_int") return graph_.insertConstant(integerOf(value, "a number"));
  if (constant == "as_float") return graph_.insertConstant(numberOf(value, "a number"));
  return graph_.insertConstant(booleanOf(value, "a truth value"));
}

Value* OperationArguments::list(const Json& values,
                                const c10::TypePtr& elements,
                                const std::string& constant) const {
  std::vector<Value*> made;
  for (const Json& value : arrayOf(values, "a list")) {
    if (!constant.empty()) {
      made.push_back(symbolOf(value, constant));
    } else if (elements->kind() == c10::TypeKind::OptionalType) {
      made.push_back(optionalTensor(value));
    } else {
      made.push_back(valueNamed_(textOf(member(value, "name"), "a name")));
    }
  }
  return graph_.insertNode(graph_.createList(elements, made))->output();
}

Value* OperationArguments::optionalTensor(const Json& argument) const {
  if (const Json* tensor = findMember(argument, "as_tensor"))
    return valueNamed_(textOf(member(*tensor, "name"), "a name"));
  return graph_.insertConstant(c10::IValue());
}

// A number where the operator takes several stands for each of them.
Value* OperationArguments::number(const Union& given,
                                  const c10::TypePtr& type,
                                  std::optional<int32_t> length) const {
  const bool wantsNumber = type && *type == *c10::FloatType::get();
  if (given.kind == "as_bool") return graph_.insertConstant(booleanOf(given.value, "a truth value"));
  if (given.kind == "as_int" && isListOf(type, c10::IntType::get())) {
    return graph_.insertConstant(std::vector<int64_t>(
        static_cast<std::size_t>(std::max(length.value_or(1), 1)), integerOf(given.value, "a number")));
  }
  if (given.kind == "as_int" && !wantsNumber)
    return graph_.insertConstant(integerOf(given.value, "a number"));
  if (given.kind == "as_complex") {
    return graph_.insertConstant(c10::complex<double>(numberOf(member(given.value, "real"), "a number"),
                                                      numberOf(member(given.value, "imag"), "a number")));
  }
  return graph_.insertConstant(numberOf(given.value, "a number"));
}

Value* OperationArguments::valueOf(const Json& argument,
                                   const c10::TypePtr& parameter,
                                   std::optional<int32_t> length) const {
  const Union given = unionOf(argument, "an argument");
  const auto& [kind, value] = given;
  const c10::TypePtr type = withoutOptional(parameter);
  if (kind == "as_none") return graph_.insertConstant(c10::IValue());
  if (kind == "as_tensor") return valueNamed_(textOf(member(value, "name"), "a name"));
  if (kind == "as_optional_tensor") return optionalTensor(value);
  if (kind == "as_tensors") return list(value, c10::TensorType::get(), "");
  if (kind == "as_optional_tensors") return list(value, c10::OptionalType::ofTensor(), "");
  if (kind == "as_sym_int") return symbolOf(value, "as_int");
  if (kind == "as_sym_float") return symbolOf(value, "as_float");
  if (kind == "as_sym_bool") return symbolOf(value, "as_bool");
  if (kind == "as_sym_ints") return list(value, c10::IntType::get(), "as_int");
  if (kind == "as_sym_floats") return list(value, c10::FloatType::get(), "as_float");
  if (kind == "as_sym_bools") return list(value, c10::BoolType::get(), "as_bool");
  if (isNumber(kind)) return number(given, type, length);
  if (kind == "as_floats" || (kind == "as_ints" && isListOf(type, c10::FloatType::get())))
    return constantList(value, [](const Json& each) { return numberOf(each, "a number"); });
  if (kind == "as_ints")
    return constantList(value, [](const Json& each) { return integerOf(each, "a number"); });
  if (kind == "as_bools")
    return constantList(value, [](const Json& each) { return booleanOf(each, "a truth value"); });
  if (kind == "as_string") return graph_.insertConstant(textOf(value, "a text"));
  if (kind == "as_strings")
    return constantList(value, [](const Json& each) { return textOf(each, "a text"); });
  if (kind == "as_scalar_type") return graph_.insertConstant(scalarTypeIn(value));
  if (kind == "as_memory_format") return graph_.insertConstant(memoryFormatIn(value));
  if (kind == "as_layout") return graph_.insertConstant(layoutIn(value));
  if (kind == "as_device") return graph_.insertConstant(deviceIn(value));
  throw Failure("ERR_UNSUPPORTED", "The program gives an operation " +
                                       (kind.rfind("as_", 0) == 0 ? kind.substr(3) : kind) +
                                       ", which is not read.");
}

}  // namespace gradcam
